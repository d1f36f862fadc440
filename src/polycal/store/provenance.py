"""The run record: which code, inputs, machine and job made a result, and what it cost."""

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
    """The stamp that a stage gets (``polycal.artifacts.manifests.Stamp``): a run record that ends with the cost."""

    record: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """sha256 of all that determines the result."""
        return str(self.record["fingerprint"])

    def __call__(self, **usage: float) -> dict[str, Any]:
        """The run record with the cost since the last stamp of this process."""
        return {**self.record, "cost": METER.read(**usage)}


def run_record(
    stage: str, cell: Mapping[str, Any], fingerprint: str, inputs: Mapping[str, str]
) -> dict[str, Any]:
    """What makes a result, as plain JSON: cell, code, commit, lock file, host, job, and checksums of its inputs.

    ``code`` is the accepted version that the fingerprint contains, ``code_version`` the one that runs. They differ
    only by the acceptances listed. Of the environment only the Slurm job's id is recorded.
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
    """The time in UTC to the second, as ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@functools.cache
def repository() -> tuple[str | None, bool | None]:
    """Commit of the working tree that runs, and whether tracked files differ from it; None outside of git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(code_versions.ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


@functools.cache
def lock_sha256() -> str | None:
    """Checksum of the lock file that the installation follows; None where there is none."""
    return files.sha256(code_versions.LOCK) if code_versions.LOCK.exists() else None


class Meter:
    """What a process uses; the first reading covers the process from its start, imports included."""

    def __init__(self) -> None:
        self.since, self.cpu_before, self.first = psutil.Process().create_time(), 0.0, True

    def read(
        self,
        gpus: float | None = None,
        cpu_seconds: float | None = None,
        peak_memory_bytes: float | None = None,
    ) -> dict[str, Any]:
        """The cost since the last reading.

        ``wall_seconds``; ``cpu_seconds`` of this process and its ended children; ``gpus`` and ``gpu_seconds``,
        wall time on every rank's device, 0 on a CPU; ``peak_memory_bytes`` of the process so far;
        ``queue_seconds`` of the Slurm job, counted in the first reading only, None where Slurm does not know.
        Arguments replace what is measured here, where other processes did the work.
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
"""The meter of this process."""


def _gpus() -> int:
    """Devices that the job computes on: one per rank where CUDA is in use."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return 0
    return int(os.environ.get("WORLD_SIZE", "1"))
