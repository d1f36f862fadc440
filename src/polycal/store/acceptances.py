"""Acceptances: code versions of a stage that a reviewer declared to give the same results.

Each entry of ``config/accepted.yaml`` says that version ``new`` of a stage gives the same results as version
``old``. The two versions then count as one, and so do further versions that other entries join to them. A
cached result of such a version is current, so it is not computed again.
"""

from collections.abc import Mapping
from typing import Any

import yaml

from polycal.store import code_versions
from polycal.store.code_versions import VersionError
from polycal.store.stages import STAGES

ACCEPTED = code_versions.ROOT / "config" / "accepted.yaml"
KEYS = ("stage", "old", "new", "because", "author", "commit", "date")
"""Keys of an entry. All are required."""


class AcceptanceError(VersionError):
    """An entry of ``config/accepted.yaml`` is malformed or contradicts another entry."""


def acceptances(stage: str | None = None) -> list[dict[str, Any]]:
    """The entries of ``config/accepted.yaml``: those of ``stage``, or all. A missing file has no entries.

    Raises AcceptanceError if the file cannot be read or is not valid YAML, if an entry lacks one of ``KEYS``,
    or if a version is accepted twice.
    """
    try:
        entries = yaml.safe_load(ACCEPTED.read_text(encoding="utf-8")) or []
    except FileNotFoundError:
        return []
    except yaml.YAMLError as error:
        raise AcceptanceError(f"{ACCEPTED}: not valid YAML: {' '.join(str(error).split())}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise AcceptanceError(f"{ACCEPTED}: cannot be read ({error}); restore it from git.") from None
    if not isinstance(entries, list):
        raise AcceptanceError(f"{ACCEPTED}: must be a list of entries; begin each entry with '- '.")
    seen: set[tuple[str, str]] = set()
    for number, entry in enumerate(entries):
        where = f"{ACCEPTED}: entry {number}"
        if not isinstance(entry, Mapping) or (missing := [key for key in KEYS if not entry.get(key)]):
            lacks = repr(missing[0]) if isinstance(entry, Mapping) else "a mapping"
            raise AcceptanceError(f"{where} lacks {lacks}; it needs {', '.join(KEYS)}.")
        if (version := (str(entry["stage"]), str(entry["new"]))) in seen:
            raise AcceptanceError(f"{where}: version {version[1]} of {version[0]} is accepted a second time.")
        seen.add(version)
    return [dict(entry) for entry in entries if stage in (None, entry["stage"])]


def accepted_version(stage: str, version: str | None = None) -> tuple[str, list[dict[str, Any]]]:
    """The oldest version with the same results as ``version``, and the entries that lead to it.

    ``version`` is the present version by default. Fingerprints are computed with the oldest version, which
    represents all versions that acceptances join to it.
    """
    by_new = {entry["new"]: entry for entry in acceptances(stage)}
    oldest = version or code_versions.code_version(stage)
    used: list[dict[str, Any]] = []
    while oldest in by_new and by_new[oldest] not in used:
        used.append(by_new[oldest])
        oldest = by_new[oldest]["old"]
    return oldest, used


def equivalent_versions(stage: str, version: str) -> list[str]:
    """``version``, followed by all versions that acceptances join to it.

    ``version`` must be the oldest of them, as ``accepted_version`` returns it.
    """
    others = {entry[side] for entry in acceptances(stage) for side in ("old", "new")} - {version}
    return [version, *sorted(other for other in others if accepted_version(stage, other)[0] == version)]


def relied_on(stage: str, version: str) -> list[dict[str, Any]]:
    """The entries because of which a result of ``version`` counts as a result of the present version."""
    now, then = accepted_version(stage)[1], accepted_version(stage, version)[1]
    return [entry for entry in [*now, *then] if (entry in now) != (entry in then)]


def active_acceptances() -> list[str]:
    """The acceptances that the present version of each stage relies on, as ``stage: old → new``."""
    return [
        f"{stage}: {entry['old']} → {entry['new']}"
        for stage in STAGES
        for entry in accepted_version(stage)[1]
    ]


def unused_acceptances() -> list[tuple[dict[str, Any], str]]:
    """The entries that have no effect on the present version of their stage, each with the reason."""
    unused = []
    for entry in acceptances():
        stage = entry["stage"]
        if stage not in STAGES:
            unused.append((entry, f"there is no stage {stage!r}"))
        elif accepted_version(stage, entry["new"])[0] != accepted_version(stage)[0]:
            now = code_versions.code_version(stage)
            unused.append((entry, f"the version of {stage} is {now} by now"))
    return unused
