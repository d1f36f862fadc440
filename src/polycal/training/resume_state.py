"""Training state that is either whole or does not exist.

A state is a folder ``step-<n>`` that ends in ``complete.json``: fingerprint, step, and the name and size of
every file. It is written aside, flushed, and renamed last, so a kill at any moment leaves the state before.
Trainers take the newest folder unchecked and go on silently and wrongly where a file of it is missing.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMPLETE = "complete.json"


@dataclass(frozen=True)
class State:
    """A whole state: its folder, the optimizer steps behind it, and what was noted with it."""

    folder: Path
    step: int
    note: Mapping[str, Any]


def found(folder: Path, fingerprint: str) -> list[State]:
    """The whole states of ``fingerprint`` in ``folder``, oldest first."""
    entries = folder.iterdir() if folder.is_dir() else ()
    whole = (read(entry) for entry in entries)
    mine = (state for state in whole if state is not None and state.note["fingerprint"] == fingerprint)
    return sorted(mine, key=lambda state: state.step)


def read(folder: Path) -> State | None:
    """The state in ``folder``; None unless every file is there with the size that was noted."""
    if folder.name.startswith("."):
        return None
    try:
        note = json.loads((folder / COMPLETE).read_text())
        step = int(note["step"])
        if not isinstance(note["fingerprint"], str):
            return None
        for name, size in note["files"].items():
            if (folder / name).stat().st_size != size:
                return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return State(folder, step, note)


def aside(folder: Path, step: int) -> Path:
    """An empty folder in which the state of ``step`` can be written."""
    place = folder / f".step-{step}.part"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    return place


def seal(place: Path, fingerprint: str, step: int, **note: Any) -> State:
    """Make what was written in ``place``, a folder that ``aside`` gave, the state of ``step``."""
    files = sorted(path for path in place.rglob("*") if path.is_file())
    sizes = {path.relative_to(place).as_posix(): path.stat().st_size for path in files}
    said = {**note, "fingerprint": fingerprint, "step": step, "files": sizes}
    for path in files:
        _flush(path)
    (place / COMPLETE).write_text(json.dumps(said, indent=1, sort_keys=True) + "\n")
    for path in (place / COMPLETE, *(path for path in place.rglob("*") if path.is_dir()), place):
        _flush(path)
    target = place.parent / f"step-{step}"
    # what may stand there is broken, or was made by another number of ranks
    shutil.rmtree(target, ignore_errors=True)
    os.rename(place, target)
    _flush(target.parent)
    return State(target, step, said)


def prune(folder: Path, fingerprint: str, keep: list[State]) -> None:
    """Remove broken states and those of ``fingerprint`` not in ``keep``; another fingerprint's stay."""
    for entry in folder.iterdir() if folder.is_dir() else ():
        state = read(entry)
        if state is None or (state.note["fingerprint"] == fingerprint and state not in keep):
            shutil.rmtree(entry, ignore_errors=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
