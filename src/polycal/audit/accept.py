"""Accept a change of code that alters no result, instead of computing all results of the stage again.

An entry of ``config/accepted.yaml`` says that the present code version of a stage gives the same results as
an older one, for which reason, and who decided it. The file is reviewed like code.
``polycal.store.acceptances`` reads it.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from polycal.artifacts import files
from polycal.audit.current_inputs import Manifests
from polycal.audit.expected_results import ExpectedResult
from polycal.store import acceptances, code_versions, provenance
from polycal.store.acceptances import AcceptanceError
from polycal.store.stages import STAGES

HEAD = """\
# Changes of code that alter no result: results of version `old` of a stage count as results of version `new`.
# Written by `polycal accept` and reviewed like code. `polycal verify` lists entries without effect.
"""


def accept(
    stage: str,
    because: str,
    expected: Sequence[ExpectedResult],
    recorded: Manifests,
    old: str | None,
    author: str | None,
) -> dict[str, Any]:
    """Append an entry: the present version of ``stage`` gives the same results as version ``old``.

    By default ``old`` is the only other version that expected results were made with, and ``author`` is the
    user in git's configuration. Returns the entry.

    Raises AcceptanceError in these cases: the stage is unknown, the reason is empty, there is no author, no
    expected result was made with ``old``, several older versions are possible, or the present version is
    accepted already.
    """
    if stage not in STAGES:
        raise AcceptanceError(f"{stage}: no such stage; known: {', '.join(STAGES)}.")
    if not because.strip():
        raise AcceptanceError("--because: the reason is empty; say why the change alters no result.")
    now = code_versions.code_version(stage)
    made = _made(stage, expected, recorded)
    if old is None:
        old = _only(stage, now, made)
    if acceptances.accepted_version(stage, old)[0] == acceptances.accepted_version(stage)[0]:
        raise AcceptanceError(f"{stage}: version {old} counts as the present one ({now}) already.")
    if old not in made:
        raise AcceptanceError(
            f"{stage}: no expected result was made with version {old}; there are {_counts(made)}."
        )
    if any(entry["new"] == now for entry in acceptances.acceptances(stage)):
        raise AcceptanceError(
            f"{stage}: the present version {now} is accepted already; a version can be accepted once."
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
    _append(acceptances.ACCEPTED, entry)
    return entry


def _made(stage: str, expected: Sequence[ExpectedResult], recorded: Manifests) -> dict[str, int]:
    """The number of expected results for each code version that made them, the latest version first."""
    found: list[tuple[str, str]] = []
    for result in expected:
        if result.stage == stage and Path(result.out).exists():
            manifest = recorded[result.recorded_in]
            version = str(manifest.get("code_version", "unknown"))
            found.append((str(manifest.get("started", "")), version))
    versions = [version for _, version in sorted(found, reverse=True)]
    return {version: versions.count(version) for version in dict.fromkeys(versions)}


def _only(stage: str, now: str, made: dict[str, int]) -> str:
    present = acceptances.accepted_version(stage)[0]
    classes: dict[str, list[str]] = {}
    for version in made:
        classes.setdefault(acceptances.accepted_version(stage, version)[0], []).append(version)
    others = {known: found for known, found in classes.items() if known != present}
    if not others:
        what = "every expected result" if made else "no result exists yet, so nothing"
        raise AcceptanceError(f"{stage}: nothing to accept: {what} was made with the present version {now}.")
    if len(others) > 1:
        raise AcceptanceError(
            f"{stage}: the results were made with several older versions ({_counts(made)}); name one with --old."
        )
    # These versions count as one. Name the latest, because the results before the change were made with it.
    return next(iter(others.values()))[0]


def _counts(made: dict[str, int]) -> str:
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
    """Append an entry to the file, which is created if it is missing."""
    before = path.read_text(encoding="utf-8") if path.exists() else HEAD
    added = yaml.safe_dump([entry], sort_keys=False, allow_unicode=True, width=110)
    files.write_text(path, f"{before.rstrip()}\n{added}")
