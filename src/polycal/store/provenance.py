"""Where a result comes from: the note that every record and manifest carries."""

import datetime
import functools
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from polycal.errors import PolycalError
from polycal.store import code_versions


class NoteError(PolycalError):
    """A file whose note cannot be read; the message says which and why."""


def note(stage: str, cell: Mapping[str, Any], fingerprint: str, reads: Mapping[str, str]) -> dict[str, Any]:
    """What made a result, as plain JSON: cell, code, commit, lock, host, job, and checksums of what was read.

    ``code`` is the class that the fingerprint stands on, ``code_version`` the version that really ran;
    they differ only by the acceptances listed. Nothing of the environment enters but the Slurm job's id.
    """
    known, accepted = code_versions.code_class(stage)
    commit, dirty = repository()
    return {
        "stage": stage,
        "cell": dict(cell),
        "fingerprint": fingerprint,
        "code": known,
        "code_version": code_versions.code_version(stage),
        "acceptances": accepted,
        "reads": dict(sorted(reads.items())),
        "commit": commit,
        "dirty": dirty,
        "lock": lock_sha256(),
        "host": platform.node(),
        "python": platform.python_version(),
        "job": os.environ.get("SLURM_JOB_ID"),
        "started": now(),
    }


def read(path: Path) -> dict[str, Any]:
    """What a record, table or manifest says of itself; empty where it was not written by polycal.

    Raises NoteError for a file that is missing or broken.
    """
    try:
        if path.suffix == ".parquet":
            return dict(json.loads((pq.read_schema(path).metadata or {}).get(b"polycal", "{}")))
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    except FileNotFoundError:
        raise NoteError(f"{path}: no such file.") from None
    except (pa.ArrowInvalid, OSError, ValueError) as error:
        raise NoteError(f"{path}: broken or cut off: {' '.join(str(error).split())[:200]}") from None


def closed(note: Mapping[str, Any]) -> dict[str, Any]:
    """A job's note with what the job cost; of several results the first also bears imports and loading.

    A note that no job began stays as it is: nothing of the clock enters on its own.
    """
    return {**note, "cost": METER.lap()} if "started" in note else dict(note)


def now() -> str:
    """The time in UTC to the second, as ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@functools.cache
def repository() -> tuple[str | None, bool | None]:
    """Commit of the working tree that runs, and whether tracked files differ from it; None outside of git."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(code_versions.ROOT), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


@functools.cache
def lock_sha256() -> str | None:
    """Checksum of the lock file that the installation follows; None where there is none."""
    if not code_versions.LOCK.exists():
        return None
    return hashlib.sha256(code_versions.LOCK.read_bytes()).hexdigest()


class Meter:
    """What a process spends, lap by lap; the first lap begins with the process, imports included."""

    def __init__(self) -> None:
        self.wall, self.cpu, self.first = psutil.Process().create_time(), 0.0, True

    def lap(self) -> dict[str, Any]:
        """Cost since the last lap.

        ``wall_seconds``; ``cpu_seconds`` of this process and its ended children; ``gpus`` and ``gpu_seconds``,
        wall time on every rank's device, 0 on a CPU; ``peak_memory_bytes`` of the process so far;
        ``queue_seconds`` that Slurm let the job wait, counted once a job, None where Slurm does not tell.
        """
        own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        wall, cpu = time.time(), sum(u.ru_utime + u.ru_stime for u in (own, children))
        gpus, seconds = _gpus(), max(wall - self.wall, 0.0)
        waited = queue_seconds(os.environ.get("SLURM_JOB_ID"))
        spent = {
            "wall_seconds": round(seconds, 3),
            "cpu_seconds": round(cpu - self.cpu, 3),
            "gpus": gpus,
            "gpu_seconds": round(seconds * gpus, 3),
            "peak_memory_bytes": own.ru_maxrss * 1024,
            "queue_seconds": waited if self.first or waited is None else 0.0,
        }
        self.wall, self.cpu, self.first = wall, cpu, False
        return spent


METER = Meter()
"""Of this process: stages ask it for a lap when they write a result."""


def _gpus() -> int:
    """Devices that the job computes on: one a rank where CUDA is in use."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return 0
    return int(os.environ.get("WORLD_SIZE", "1"))


@functools.cache
def queue_seconds(job: str | None) -> float | None:
    """Seconds between a Slurm job's submission and its start, from squeue, else sacct; None where neither tells."""
    if job is None:
        return None
    asked = (
        ["squeue", "--noheader", f"--jobs={job}", "--format=%V|%S"],
        ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}", "--format=Submit,Start"],
    )
    for command in asked:
        try:
            said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
            submitted, begun = map(datetime.datetime.fromisoformat, said.split()[0].split("|"))
        except (OSError, subprocess.SubprocessError, ValueError, IndexError):
            continue
        return max((begun - submitted).total_seconds(), 0.0)
    return None
