"""Accepted changes of code: versions of a stage that a reviewer declared to give the same results.

The entries of ``config/accepted.yaml`` join versions: each says that version ``new`` of a stage gives the results
of version ``old``. A cached result of a joined version counts as current, so nothing is computed again.
"""

from collections.abc import Mapping
from typing import Any

import yaml

from polycal.store import code_versions
from polycal.store.code_versions import VersionError
from polycal.store.stages import STAGES

ACCEPTED = code_versions.ROOT / "config" / "accepted.yaml"
KEYS = ("stage", "old", "new", "because", "author", "commit", "date")
"""Keys of an entry; all are needed."""


class AcceptanceError(VersionError):
    """An acceptance that is malformed or contradicts another; the message says which and why."""


def acceptances(stage: str | None = None) -> list[dict[str, Any]]:
    """The entries of ``config/accepted.yaml``, all or those of one stage.

    Raises AcceptanceError for an entry without one of ``KEYS``, or for a version that is accepted twice.
    """
    try:
        entries = yaml.safe_load(ACCEPTED.read_text(encoding="utf-8")) or []
    except FileNotFoundError:
        return []
    except yaml.YAMLError as error:
        raise AcceptanceError(f"{ACCEPTED}: not valid YAML: {' '.join(str(error).split())}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise AcceptanceError(f"{ACCEPTED}: cannot be read ({error}); restore it from git.") from None
    seen: set[tuple[str, str]] = set()
    for number, entry in enumerate(entries if isinstance(entries, list) else [entries]):
        where = f"{ACCEPTED}: entry {number}"
        if not isinstance(entry, Mapping) or (missing := [key for key in KEYS if not entry.get(key)]):
            lacks = repr(missing[0]) if isinstance(entry, Mapping) else "a mapping"
            raise AcceptanceError(f"{where} lacks {lacks}; it needs {', '.join(KEYS)}.")
        if (version := (str(entry["stage"]), str(entry["new"]))) in seen:
            raise AcceptanceError(f"{where}: version {version[1]} of {version[0]} is accepted a second time.")
        seen.add(version)
    return [dict(entry) for entry in entries if stage in (None, entry["stage"])]


def accepted_version(stage: str, version: str | None = None) -> tuple[str, list[dict[str, Any]]]:
    """The oldest version that gives the results of ``version`` (default: the present one), and the entries used.

    This oldest version represents all versions that acceptances join to it; fingerprints are computed with it.
    """
    by_new = {entry["new"]: entry for entry in acceptances(stage)}
    oldest = version or code_versions.code_version(stage)
    used: list[dict[str, Any]] = []
    while oldest in by_new and by_new[oldest] not in used:
        used.append(by_new[oldest])
        oldest = by_new[oldest]["old"]
    return oldest, used


def equivalent_versions(stage: str, version: str) -> list[str]:
    """All versions that acceptances join to ``version``, which comes first."""
    others = {entry[side] for entry in acceptances(stage) for side in ("old", "new")} - {version}
    return [version, *sorted(other for other in others if accepted_version(stage, other)[0] == version)]


def relied_on(stage: str, version: str) -> list[dict[str, Any]]:
    """The entries by which a result of ``version`` counts as one of the present version."""
    now, then = accepted_version(stage)[1], accepted_version(stage, version)[1]
    return [entry for entry in [*now, *then] if (entry in now) != (entry in then)]


def active_acceptances() -> list[str]:
    """The acceptances that the present versions of all stages rely on, as ``stage: old → new``."""
    return [
        f"{stage}: {entry['old']} → {entry['new']}"
        for stage in STAGES
        for entry in accepted_version(stage)[1]
    ]


def unused_acceptances() -> list[tuple[dict[str, Any], str]]:
    """Entries that join nothing to the present version of their stage, each with the reason."""
    unused = []
    for entry in acceptances():
        stage = entry["stage"]
        if stage not in STAGES:
            unused.append((entry, f"there is no stage {stage!r}"))
        elif accepted_version(stage, entry["new"])[0] != accepted_version(stage)[0]:
            now = code_versions.code_version(stage)
            unused.append((entry, f"the version of {stage} is {now} by now"))
    return unused
