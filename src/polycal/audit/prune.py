"""Kept work and training state that no plan needs any more.

Kept work is needed where a plan asks for its fingerprint; where the fingerprint is open, because something that it
stands on is still to be made, every kept result of the same cell and code is needed.
"""

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polycal.artifacts import files, manifests
from polycal.audit import expected_results, staleness
from polycal.audit.expected_results import Notes, Task
from polycal.audit.staleness import KEPT, RESULTS
from polycal.errors import PolycalError
from polycal.store import code_versions, locks


class PruneError(PolycalError):
    """A state of the results in which nothing may be removed."""


@dataclass(frozen=True)
class Waste:
    """A folder that no plan needs: what it is, the bytes that removing it frees."""

    path: Path
    what: str
    size: int


def waste(plans: Sequence[Sequence[Task]]) -> list[Waste]:
    """What of the kept work, weights and training state none of ``plans`` needs, by path."""
    keys, cells = _needed(plans)
    found, needed = [], set(keys)
    for folder in sorted(KEPT.glob("??/*")):
        stage, cell, code = _told(folder)
        # the class of the version that made it, after the acceptances that stand now
        known = code_versions.code_class(stage, code)[0] if code else None
        if folder.name in keys or (stage, files.canonical_json(cell), known) in cells:
            needed.add(folder.name)
        else:
            found.append(Waste(folder, f"kept {stage or 'result'}", _size(folder)))
    short = {key[:12] for key in needed}
    for trained in sorted(RESULTS.glob("checkpoints/**/lr=*")):
        stands = _stands(trained / "manifest.json")
        for folder in sorted(path for path in trained.iterdir() if path.is_dir()):
            if folder.name not in short | {stands}:
                found.append(Waste(folder, "weights or training state", _size(folder)))
            elif folder.name == stands and (folder / "state").is_dir():
                found.append(
                    Waste(folder / "state", "training state of a finished run", _size(folder / "state"))
                )
    return found


def remove(found: Sequence[Waste]) -> int:
    """Remove what ``waste`` found; returns the bytes freed. Raises PruneError while a workflow runs here."""
    try:
        # the lock of the workflow itself: one that starts meanwhile leaves
        with locks.hold("prune", RESULTS / "snakemake", leave=True):
            for one in found:
                # a result is whole while this file is there: it goes first
                (one.path / "complete.json").unlink(missing_ok=True)
                shutil.rmtree(one.path)
    except locks.LockError as error:
        raise PruneError(f"a workflow runs here: {error}") from None
    return sum(one.size for one in found)


def _needed(plans: Sequence[Sequence[Task]]) -> tuple[set[str], set[tuple[str, str, str | None]]]:
    """Fingerprints that the plans ask for, and (stage, cell, class of code) of those that are open."""
    notes, keys = Notes(), set()
    cells: set[tuple[str, str, str | None]] = set()
    for planned in plans:
        for finding in staleness.judge(planned, notes):
            task, code = finding.task, code_versions.code_class(finding.task.stage)[0]
            if Path(task.note).exists():
                # what stands in its place is kept, stale or not: a run decides over it
                with contextlib.suppress(manifests.ManifestError):
                    keys.add(str(notes[task.note].get("fingerprint")))
            if finding.after:
                cells.add((task.stage, files.canonical_json(task.cell), code))
                continue
            try:
                keys.update(
                    expected_results.fingerprints(
                        task, expected_results.reads(task, notes, believe=True), code
                    )
                )
            except ValueError:
                cells.add((task.stage, files.canonical_json(task.cell), code))
    return keys, cells


def _told(folder: Path) -> tuple[str, Any, str | None]:
    """Stage, cell and code version of the result kept in ``folder``; empty where it does not say."""
    for path in sorted(p for p in folder.iterdir() if p.name != "complete.json" and p.is_file()):
        try:
            said = manifests.read(path)
        except manifests.ManifestError:
            continue
        if "fingerprint" in said:
            return said["stage"], said["cell"], said["code_version"]
    return "", {}, None


def _stands(manifest: Path) -> str | None:
    """The folder of the weights that ``manifest`` names."""
    try:
        return Path(str(manifests.read(manifest).get("folder", ""))).parts[0]
    except (manifests.ManifestError, IndexError):
        return None


def _size(folder: Path) -> int:
    """Bytes that go free: a file that another name holds too frees nothing."""
    files = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return sum(file.st_size for file in files if file.st_nlink == 1)


def text(found: Sequence[Waste]) -> str:
    """The list in words, and what removing it frees."""
    lines = [f"{one.path}: {one.what}, {one.size / 1e6:.1f} MB" for one in found]
    lines.append(f"{len(found)} not needed, {sum(one.size for one in found) / 1e6:.1f} MB")
    return "\n".join(lines) + "\n"
