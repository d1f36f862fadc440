"""Attempts at a result that failed: recorded while they run, counted in the cost of the result that follows.

The caller holds the lock of the result. An attempt that is recorded and has not ended is therefore dead: killed, out
of time or memory, or lost with its node. How long it ran is known from Slurm's accounting, else from its last heartbeat.
"""

import contextlib
import json
import os
import shutil
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from polycal.artifacts import files
from polycal.store import provenance, slurm

HEARTBEAT_SECONDS = 20.0


class Attempt:
    """One attempt at the result with fingerprint ``key``; as a context manager it ends with the block.

    It begins where this process finished its last result. ``earlier`` is the summary of failed attempts as a run
    record holds it, empty where there are none. Without a cache nothing is recorded.
    """

    def __init__(self, cache: Path | None, key: str) -> None:
        self.folder = cache.parent / ".attempts" / key if cache is not None else None
        self.earlier = _summary(self.folder) if self.folder else {}
        self.stop = threading.Event()
        if self.folder is None:
            return
        self.file = self.folder / f"{uuid.uuid4().hex}.json"
        self.record: dict[str, Any] = {"began": provenance.METER.since, "gpus": _gpus()}
        self.record["job"] = os.environ.get("SLURM_JOB_ID")
        self._write(self.record)
        threading.Thread(target=self._heartbeat, daemon=True).start()

    def succeeded(self) -> None:
        """The result is there, and its run record contains the earlier attempts."""
        self.stop.set()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def failed(self) -> None:
        """There is no result; the time spent stays recorded."""
        self.stop.set()
        if self.folder is not None:
            self._write({**self.record, "ended": time.time()})

    def withdrawn(self) -> None:
        """There is no result yet; this process goes on with others, whose cost begins where this attempt began."""
        self.stop.set()
        if self.folder is not None:
            with contextlib.suppress(OSError):
                self.file.unlink(missing_ok=True)

    def __enter__(self) -> "Attempt":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.succeeded() if kind is None else self.failed()

    def _write(self, record: dict[str, Any]) -> None:
        """Write the note; where that cannot be done, the attempt goes on and is not counted. A full disk is raised."""
        try:
            files.write_json(self.file, record)
        except OSError as error:
            if files.is_disk_full(error):
                raise
            print(
                f"{self.file}: cannot be written ({error.strerror}); this attempt is not counted.", flush=True
            )

    def _heartbeat(self) -> None:
        while not self.stop.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):  # a file system that does not answer now, or no note
                os.utime(self.file, (time.time(),) * 2)


def _summary(folder: Path) -> dict[str, Any]:
    """The number of failed attempts, and their wall and GPU seconds."""
    try:
        paths = sorted(folder.glob("*.json"))
    except OSError:
        paths = []
    spent = [seconds for path in paths if (seconds := _spent(path)) is not None]
    if not spent:
        return {}
    wall, gpu = (round(sum(values), 3) for values in zip(*spent, strict=True))
    return {"attempts": {"failed": len(spent), "wall_seconds": wall, "gpu_seconds": gpu}}


def _spent(path: Path) -> tuple[float, float] | None:
    """Wall and GPU seconds of a failed attempt; None for a note that cannot be read, which is set aside."""
    try:
        record = json.loads(path.read_text())
        job, began, gpus = record["job"], float(record["began"]), int(record["gpus"])
        ended = float(record.get("ended", path.stat().st_mtime))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        files.set_aside(path, "not the note of an attempt, whose cost is not counted")
        return None
    if "ended" not in record and job and (accounted := slurm.accounted_seconds(str(job))):
        return accounted
    seconds = max(ended - began, 0.0)
    return seconds, seconds * gpus


def _gpus() -> int:
    """The devices that the process may use: they are paid for even if the process never used them."""
    return len([device for device in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if device.strip()])
