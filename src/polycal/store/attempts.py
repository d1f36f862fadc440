"""Attempts at a result that came to nothing: noted while they run, counted in the result that comes in the end.

The caller holds the result's lock, so what is noted here and not ended has died: killed, out of time or memory, with
its node. How long such an attempt ran tells Slurm's accounting, else its own last sign of life.
"""

import json
import os
import shutil
import subprocess
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from polycal.artifacts import files
from polycal.store import provenance

# Seconds between two signs of life.
BEAT = 20.0


class Attempt:
    """One attempt at the result ``key``, from the last result of this process on; as a context it ends with it.

    ``earlier`` is what the attempts before it came to, as a note says it: empty where there were none. Without a folder
    of kept work nothing is noted.
    """

    def __init__(self, shelf: Path | None, key: str) -> None:
        self.folder = shelf.parent / ".attempts" / key if shelf is not None else None
        self.earlier = _together(self.folder) if self.folder else {}
        self.stop = threading.Event()
        if self.folder is None:
            return
        self.file = self.folder / f"{uuid.uuid4().hex}.json"
        self.told: dict[str, Any] = {"began": provenance.METER.wall, "gpus": _gpus()}
        self.told["job"] = os.environ.get("SLURM_JOB_ID")
        files.write_json(self.file, self.told)
        threading.Thread(target=self._beat, daemon=True).start()

    def done(self) -> None:
        """The result is there, and its note speaks of the earlier attempts."""
        self.stop.set()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def failed(self) -> None:
        """There is no result; what was spent stays noted."""
        self.stop.set()
        if self.folder is not None:
            files.write_json(self.file, {**self.told, "ended": time.time()})

    def __enter__(self) -> "Attempt":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.done() if kind is None else self.failed()

    def _beat(self) -> None:
        while not self.stop.wait(BEAT):
            if self.file.exists():
                os.utime(self.file, (time.time(),) * 2)


def _together(folder: Path) -> dict[str, Any]:
    """How many attempts failed, and their wall and GPU seconds."""
    found = [_spent(path) for path in sorted(folder.glob("*.json"))]
    if not found:
        return {}
    seconds, devices = (round(sum(values), 3) for values in zip(*found, strict=True))
    return {"attempts": {"failed": len(found), "wall_seconds": seconds, "gpu_seconds": devices}}


def _spent(path: Path) -> tuple[float, float]:
    """Wall and GPU seconds of a failed attempt."""
    told = json.loads(path.read_text())
    if "ended" not in told and told["job"] and (known := accounted(told["job"])):
        return known
    seconds = max(told.get("ended", path.stat().st_mtime) - told["began"], 0.0)
    return seconds, seconds * told["gpus"]


def _gpus() -> int:
    """The devices that the process may use: those are paid for, whether it came to use them or not."""
    return len([one for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one.strip()])


def accounted(job: str) -> tuple[float, float] | None:
    """Wall and GPU seconds of a job in Slurm's accounting; None where that does not tell."""
    command = ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}"]
    try:
        asked = subprocess.run(
            [*command, "--format=ElapsedRaw,AllocTRES"],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        elapsed, allotted = asked.stdout.split()[0].split("|")
        devices = dict(one.split("=") for one in allotted.split(",") if one).get("gres/gpu", "0")
        return float(elapsed), float(elapsed) * int(devices)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
