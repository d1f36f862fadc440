"""Training state from which a run resumes, written so that it is complete or does not exist.

A state is a folder ``step-N`` with a file ``complete.json``: fingerprint, step, and the name and size of every
file. It is written to a temporary folder, flushed to disk, and renamed last, so a kill at any moment leaves the
previous state intact. The Trainer itself resumes from its newest folder without checking it, and continues with
wrong values and no message if a file is missing.
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
    """A complete state: its folder, the optimizer steps done, and the content of its ``complete.json``."""

    folder: Path
    step: int
    note: Mapping[str, Any]


def complete_states(folder: Path, fingerprint: str) -> list[State]:
    """The complete states of ``fingerprint`` in ``folder``, oldest first."""
    entries = folder.iterdir() if folder.is_dir() else ()
    states = (read(entry) for entry in entries)
    matching = (s for s in states if s is not None and s.note["fingerprint"] == fingerprint)
    return sorted(matching, key=lambda state: state.step)


def read(folder: Path) -> State | None:
    """The state in ``folder``; None unless every listed file exists with the recorded size."""
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


def begin(folder: Path, step: int) -> Path:
    """Create an empty temporary folder in which the state of ``step`` is written."""
    temporary = folder / f".step-{step}.part"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    return temporary


def commit(temporary: Path, fingerprint: str, step: int, **note: Any) -> State:
    """Make the files in ``temporary``, a folder from ``begin``, the complete state of ``step``.

    ``note`` is recorded with the state. All files are flushed to disk before the rename.
    """
    files = sorted(path for path in temporary.rglob("*") if path.is_file())
    sizes = {path.relative_to(temporary).as_posix(): path.stat().st_size for path in files}
    content = {**note, "fingerprint": fingerprint, "step": step, "files": sizes}
    for path in files:
        _flush(path)
    (temporary / COMPLETE).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    folders = [path for path in temporary.rglob("*") if path.is_dir()]
    for path in (temporary / COMPLETE, *folders, temporary):
        _flush(path)
    target = temporary.parent / f"step-{step}"
    # an existing folder of this step is broken, or was written by another number of ranks
    shutil.rmtree(target, ignore_errors=True)
    os.rename(temporary, target)
    _flush(target.parent)
    return State(target, step, content)


def prune(folder: Path, fingerprint: str, keep: list[State]) -> None:
    """Remove broken states, and states of ``fingerprint`` that are not in ``keep``; states of others remain."""
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
