"""Training state from which a run resumes. A state is either complete or does not exist.

A state is a folder ``step-N`` with a file ``complete.json``. This file contains the fingerprint, the step, and the
name, size and sha256 of every other file. A state is written to a temporary folder, flushed to disk, and renamed
last, so that a kill at any moment leaves the previous state intact. Checksums are computed again before a run
resumes, because a disk can alter a file without changing its size. The Trainer does none of this: it resumes from
its newest folder, and if a file is missing, it continues with wrong values and without a message.
"""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polycal.artifacts import files

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
    """The state in ``folder``, or None unless each listed file exists with the recorded size.

    Checksums are not computed here; ``altered`` does this.
    """
    if folder.name.startswith("."):
        return None
    try:
        note = json.loads((folder / COMPLETE).read_text())
        step = int(note["step"])
        if not isinstance(note["fingerprint"], str):
            return None
        for name, file in note["files"].items():
            if not isinstance(file["sha256"], str) or (folder / name).stat().st_size != file["bytes"]:
                return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return State(folder, step, note)


def altered(state: State) -> str | None:
    """The name of the first file of ``state`` that was altered or removed since it was saved, or None."""
    listed = state.note["files"]
    try:
        present = files.checksums(state.folder / name for name in listed)
    except OSError as error:
        return str(error.filename)
    return next(
        (name for (name, file), now in zip(listed.items(), present, strict=True) if file["sha256"] != now),
        None,
    )


def newest_intact(states: Iterable[State]) -> State | None:
    """The last of ``states`` whose files are unaltered, or None. Prints a line for each later state."""
    for state in reversed(list(states)):
        if (name := altered(state)) is None:
            return state
        print(f"{state.folder / name}: altered since it was saved; this state is not resumed.", flush=True)
    return None


def begin(folder: Path, step: int) -> Path:
    """Create an empty temporary folder in which the state of ``step`` is written."""
    temporary = folder / f".step-{step}.part"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    return temporary


def commit(temporary: Path, fingerprint: str, step: int, **note: Any) -> State:
    """Turn the folder ``temporary``, which ``begin`` created, into the complete state of ``step``.

    ``note`` is stored in ``complete.json``. All files are flushed to disk before the rename.
    """
    paths = sorted(path for path in temporary.rglob("*") if path.is_file())
    sealed = {
        path.relative_to(temporary).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256}
        for path, sha256 in zip(paths, files.checksums(paths), strict=True)
    }
    content = {**note, "fingerprint": fingerprint, "step": step, "files": sealed}
    for path in paths:
        files.flush(path)
    (temporary / COMPLETE).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    folders = [path for path in temporary.rglob("*") if path.is_dir()]
    for path in (temporary / COMPLETE, *folders, temporary):
        files.flush(path)
    target = temporary.parent / f"step-{step}"
    # an existing folder for this step is broken, or was written by another number of ranks
    shutil.rmtree(target, ignore_errors=True)
    os.rename(temporary, target)
    files.flush(target.parent)
    return State(target, step, content)


def prune(folder: Path, fingerprint: str, keep: list[State]) -> None:
    """Remove broken states, and states of ``fingerprint`` that are not in ``keep``. Other states remain."""
    for entry in folder.iterdir() if folder.is_dir() else ():
        state = read(entry)
        if state is None or (state.note["fingerprint"] == fingerprint and state not in keep):
            shutil.rmtree(entry, ignore_errors=True)
