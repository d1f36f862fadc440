"""Appends results of benchmarks to one csv file: a row per number, with machine, versions and commit."""

import csv
import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = ("benchmark", "case", "quantity", "value", "machine", "versions", "commit", "date")


def append(
    file: Path | None, benchmark: str, case: str, figures: Mapping[str, float], versions: tuple[str, ...] = ()
) -> None:
    """Append the numbers ``figures`` of one case to ``file``; if it is None, do nothing.

    ``versions`` names the packages whose versions are recorded, beside that of Python.
    """
    if file is None:
        return
    known = [f"python {platform.python_version()}"]
    known += [f"{name} {importlib.metadata.version(name)}" for name in versions]
    fixed = [machine(), "; ".join(known), commit(), datetime.date.today().isoformat()]
    new = not file.exists()
    with file.open("a", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        if new:
            writer.writerow(COLUMNS)
        writer.writerows([benchmark, case, name, f"{value:.6g}", *fixed] for name, value in figures.items())


def machine() -> str:
    """The processor's name, the number of cores that this process may use, and the GPU if PyTorch uses one."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    torch = sys.modules.get("torch")
    gpu = f", {torch.cuda.get_device_name()}" if torch is not None and torch.cuda.is_available() else ""
    return f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} cores{gpu}"


def commit() -> str:
    """The current commit, followed by ``+`` if tracked files other than csv files of benchmarks differ from it."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":!benchmarks/*.csv")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
