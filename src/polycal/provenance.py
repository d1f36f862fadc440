"""Where a result comes from: the note that every record and manifest carries."""

import datetime
import functools
import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping
from typing import Any

from polycal import versions


def note(stage: str, cell: Mapping[str, Any], fingerprint: str, reads: Mapping[str, str]) -> dict[str, Any]:
    """What made a result, as plain JSON: cell, code, commit, lock, host, job, and checksums of what was read.

    ``code`` is the class that the fingerprint stands on, ``code_version`` the version that really ran;
    they differ only by the acceptances listed. Nothing of the environment enters but the Slurm job's id.
    """
    known, accepted = versions.code_class(stage)
    commit, dirty = repository()
    return {
        "stage": stage,
        "cell": dict(cell),
        "fingerprint": fingerprint,
        "code": known,
        "code_version": versions.code_version(stage),
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


def now() -> str:
    """The time in UTC to the second, as ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@functools.cache
def repository() -> tuple[str | None, bool | None]:
    """Commit of the working tree that runs, and whether tracked files differ from it; None outside of git."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(versions.ROOT), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


@functools.cache
def lock_sha256() -> str | None:
    """Checksum of the lock file that the installation follows; None where there is none."""
    if not versions.LOCK.exists():
        return None
    return hashlib.sha256(versions.LOCK.read_bytes()).hexdigest()
