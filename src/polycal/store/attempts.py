"""Records of attempts at a result. The cost of a result includes the attempts that failed before it.

Each attempt is a JSON file in ``.attempts/FINGERPRINT/`` beside the cache. The caller holds the lock of the
result. An earlier attempt without an end time is therefore dead: it was killed, ran out of time or memory, or
its node failed. Slurm's accounting knows how long it ran. Without that record, the last heartbeat (the
modification time of the file) counts as its end.
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
from polycal.store.cache import not_needed

HEARTBEAT_SECONDS = 20.0


class Attempt:
    """One attempt at the result with fingerprint ``key``.

    As a context manager, the attempt succeeds if the block ends normally and fails if the block raises. Its
    time is counted from the previous result of this process, or from the start of the process. ``earlier`` is
    the summary of earlier failed attempts for the run record: the number of attempts, and their wall and GPU
    seconds. It is empty if there were none. Without a cache nothing is recorded.
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
        """End the attempt with a result. Its run record lists the earlier attempts, so remove the files."""
        self.stop.set()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def failed(self) -> None:
        """End the attempt without a result. Its time is counted in the next attempt that succeeds."""
        self.stop.set()
        if self.folder is not None:
            self._write({**self.record, "ended": time.time()})

    def withdrawn(self) -> None:
        """End the attempt without a result and without counting it.

        This process continues with other attempts, whose cost includes the time of this one.
        """
        self.stop.set()
        if self.folder is not None:
            with contextlib.suppress(OSError):
                self.file.unlink(missing_ok=True)

    def __enter__(self) -> "Attempt":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.succeeded() if kind is None else self.failed()

    def _write(self, record: dict[str, Any]) -> None:
        """Write the file of the attempt. If it cannot be written, the attempt continues and is not counted.

        Raises OSError if the disk is full, because the result could not be written either.
        """
        with not_needed("this attempt is not counted"):
            files.write_json(self.file, record)

    def _heartbeat(self) -> None:
        while not self.stop.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(
                OSError
            ):  # the file system does not respond, or the file was not written
                os.utime(self.file, (time.time(),) * 2)


def _summary(folder: Path) -> dict[str, Any]:
    """The number of failed attempts in ``folder`` and their wall and GPU seconds; empty if there is none."""
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
    """Wall and GPU seconds of a failed attempt; None if its file cannot be read, which is then renamed."""
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
    """The number of GPUs allocated to the process. They are paid for even if the process never used them."""
    return len([device for device in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if device.strip()])
