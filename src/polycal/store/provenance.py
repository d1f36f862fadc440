"""The run record of a result: the code, inputs, machine and job that made it, and its cost."""

import datetime
import functools
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil

from polycal.artifacts import files
from polycal.store import acceptances, code_versions, slurm


@dataclass(frozen=True)
class RunStamp:
    """The stamp that returns a stage's run record; implements ``polycal.artifacts.manifests.Stamp``."""

    record: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """sha256 of all that determines the result, as 64 hexadecimal digits."""
        return str(self.record["fingerprint"])

    def __call__(self, **usage: float) -> dict[str, Any]:
        """The run record with the cost since the previous result of this process.

        ``usage`` are the arguments of ``Meter.read``.
        """
        return {**self.record, "cost": METER.read(**usage)}


def run_record(
    stage: str, cell: Mapping[str, Any], fingerprint: str, inputs: Mapping[str, str]
) -> dict[str, Any]:
    """What makes a result, as values that JSON can represent: cell, code, inputs, commit, machine and job.

    ``code`` is the accepted code version, which the fingerprint contains. ``code_version`` is the version
    that runs. If they differ, the entries in ``acceptances`` join them. No environment variable is recorded
    except the number of the Slurm job.
    """
    accepted, entries = acceptances.accepted_version(stage)
    commit, dirty = repository()
    return {
        "stage": stage,
        "cell": dict(cell),
        "fingerprint": fingerprint,
        "code": accepted,
        "code_version": code_versions.code_version(stage),
        "acceptances": entries,
        "reads": dict(sorted(inputs.items())),
        "commit": commit,
        "dirty": dirty,
        "lock": lock_sha256(),
        "host": platform.node(),
        "python": platform.python_version(),
        "job": os.environ.get("SLURM_JOB_ID"),
        "started": now(),
    }


def now() -> str:
    """The present time in UTC as ISO 8601, with a resolution of one second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@functools.cache
def repository() -> tuple[str | None, bool | None]:
    """The commit of the code that runs, and whether tracked files differ from it; None outside of git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(code_versions.ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


@functools.cache
def lock_sha256() -> str | None:
    """The sha256 of the lock file of the installed packages; None if there is no lock file."""
    return files.sha256(code_versions.LOCK) if code_versions.LOCK.exists() else None


class Meter:
    """Measures what this process uses. The first reading starts with the process, so it includes imports."""

    def __init__(self) -> None:
        self.since, self.cpu_before, self.first = psutil.Process().create_time(), 0.0, True

    def read(
        self,
        gpus: float | None = None,
        cpu_seconds: float | None = None,
        peak_memory_bytes: float | None = None,
    ) -> dict[str, Any]:
        """The cost since the last reading, as a dictionary.

        - ``wall_seconds``: elapsed time.
        - ``cpu_seconds``: CPU time of this process and its ended children.
        - ``gpus``: GPUs in use, one per rank; 0 without a GPU.
        - ``gpu_seconds``: ``wall_seconds`` times ``gpus``.
        - ``peak_memory_bytes``: highest resident memory of the process since its start.
        - ``queue_seconds``: time of the Slurm job in the queue. After the first reading it is 0. It is None
          without a Slurm job, or if Slurm does not know it.

        The arguments replace the measured values if other processes did the work.
        """
        own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        now, cpu = time.time(), sum(usage.ru_utime + usage.ru_stime for usage in (own, children))
        wall = max(now - self.since, 0.0)
        devices = _gpus() if gpus is None else int(gpus)
        queued = slurm.queue_seconds(os.environ.get("SLURM_JOB_ID"))
        cost = {
            "wall_seconds": round(wall, 3),
            "cpu_seconds": round(cpu - self.cpu_before if cpu_seconds is None else cpu_seconds, 3),
            "gpus": devices,
            "gpu_seconds": round(wall * devices, 3),
            "peak_memory_bytes": int(peak_memory_bytes or own.ru_maxrss * 1024),
            "queue_seconds": queued if self.first or queued is None else 0.0,
        }
        self.since, self.cpu_before, self.first = now, cpu, False
        return cost


METER = Meter()
"""The one meter of this process."""


def _gpus() -> int:
    """The number of GPUs that the job computes on: one per rank if this process uses CUDA, else 0."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return 0
    return int(os.environ.get("WORLD_SIZE", "1"))
