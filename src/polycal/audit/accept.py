"""Accepting a change of code that alters no result, instead of paying for it again.

An entry of ``config/accepted.yaml`` says that the present version of a stage gives the results of an older one, why,
and who says so. It is reviewed like code; ``polycal.versions`` treats the versions that entries join as one.
"""

import os
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from polycal.audit.expected_results import Notes, Task
from polycal.store import code_versions, provenance
from polycal.store.code_versions import AcceptanceError

HEAD = """\
# Changes of code that alter no result, each with who says so and why: results of version `old` of a stage stand for
# version `new`. Written by `polycal accept`, reviewed like code. An entry that joins nothing is named by
# `polycal verify`.
"""


def accept(
    stage: str, because: str, planned: Sequence[Task], notes: Notes, old: str | None, author: str | None
) -> dict[str, Any]:
    """Write that the present version of ``stage`` gives the results of version ``old``; returns the entry.

    Without ``old`` it is the one version, other than the present, that the plan's results were made with. Raises
    AcceptanceError where there is none or several, without a reason or author, or for an entry that joins nothing.
    """
    if stage not in code_versions.STAGES:
        raise AcceptanceError(f"{stage}: no such stage; known: {', '.join(code_versions.STAGES)}.")
    if not because.strip():
        raise AcceptanceError("--because: the reason is empty; say why the change alters no result.")
    now = code_versions.code_version(stage)
    made = _made(stage, planned, notes)
    if old is None:
        old = _only(stage, now, made)
    if code_versions.code_class(stage, old)[0] == code_versions.code_class(stage)[0]:
        raise AcceptanceError(f"{stage}: version {old} counts as the present one ({now}) already.")
    if old not in made:
        raise AcceptanceError(
            f"{stage}: no result of the plan was made with version {old}; there are {_told(made)}."
        )
    if any(entry["new"] == now for entry in code_versions.acceptances(stage)):
        raise AcceptanceError(
            f"{stage}: the present version {now} is accepted as another one already; a version may stand once."
        )
    commit, dirty = provenance.repository()
    entry = {
        "stage": stage,
        "old": old,
        "new": now,
        "because": because.strip(),
        "author": author or _author(),
        "commit": f"{commit or 'none'}{' (changed)' if dirty else ''}",
        "date": provenance.now(),
    }
    _append(code_versions.ACCEPTED, entry)
    return entry


def _made(stage: str, planned: Sequence[Task], notes: Notes) -> dict[str, int]:
    """How many results of the plan each version of a stage made, the latest made first."""
    found: list[tuple[str, str]] = []
    for task in planned:
        if task.stage == stage and Path(task.out).exists():
            said = notes[task.note]
            found.append((str(said.get("started", "")), str(said.get("code_version", "unknown"))))
    versions_made = [version for _, version in sorted(found, reverse=True)]
    return {version: versions_made.count(version) for version in dict.fromkeys(versions_made)}


def _only(stage: str, now: str, made: dict[str, int]) -> str:
    present = code_versions.code_class(stage)[0]
    classes: dict[str, list[str]] = {}
    for version in made:
        classes.setdefault(code_versions.code_class(stage, version)[0], []).append(version)
    others = {known: found for known, found in classes.items() if known != present}
    if not others:
        what = "every result of the plan" if made else "no result is there yet, so nothing"
        raise AcceptanceError(f"{stage}: nothing to accept: {what} was made with the present version {now}.")
    if len(others) > 1:
        raise AcceptanceError(
            f"{stage}: the results were made with several older versions ({_told(made)}); name one with --old."
        )
    # the latest of those that count as one: what was compared before the change was made with it
    return next(iter(others.values()))[0]


def _told(made: dict[str, int]) -> str:
    return ", ".join(f"{version} ({number} results)" for version, number in made.items()) or "none"


def _author() -> str:
    found = []
    for key in ("user.name", "user.email"):
        command = ["git", "-C", str(code_versions.ROOT), "config", key]
        try:
            found.append(subprocess.run(command, capture_output=True, text=True).stdout.strip())
        except OSError:
            found.append("")
    name, email = found
    if not name:
        raise AcceptanceError("--author: git knows no user.name here; say who accepts the change.")
    return f"{name} <{email}>" if email else name


def _append(path: Path, entry: dict[str, Any]) -> None:
    """Add an entry at the end of the file, which is left as it stands otherwise; aside and renamed."""
    before = path.read_text() if path.exists() else HEAD
    told = yaml.safe_dump([entry], sort_keys=False, allow_unicode=True, width=110)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        aside.write_text(f"{before.rstrip()}\n{told}")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
