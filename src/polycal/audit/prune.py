"""Find cached results, weights and training state that no study needs.

If studies are named, a cached result is needed if a study has a result with its fingerprint. The
fingerprint is unknown as long as an input has to be made. Until then every cached result with the same cell
and code version is needed. The cached copy of a result that exists is always kept.

If no study is named, every result in ``resources`` and ``results`` is needed, and so is its cached copy. This
includes the results of every study with a folder in ``results/studies``.
"""

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polycal.artifacts import failures, files, manifests
from polycal.audit import artifact_index, current_inputs, staleness
from polycal.audit.current_inputs import Manifests
from polycal.audit.expected_results import ExpectedResult
from polycal.errors import PolycalError
from polycal.store import acceptances, cache, locks
from polycal.study import paths


class PruneError(PolycalError):
    """Nothing may be removed now, because a workflow runs."""


@dataclass(frozen=True)
class Unneeded:
    """A folder that no study needs. ``what`` describes it; ``size`` is the number of bytes that it frees."""

    path: Path
    what: str
    size: int


def find_unneeded(plans: Sequence[Sequence[ExpectedResult]]) -> list[Unneeded]:
    """The cached results, weights and training states that none of ``plans`` needs, sorted by path."""
    keys, cells = _needed(plans)
    return _unneeded(keys, cells)


def find_replaced() -> list[Unneeded]:
    """The cached results, weights and training states of results that others have replaced, sorted by path.

    Checkpoint folders without a manifest are not included, because their training is not finished.
    """
    folders = (Path(paths.RESOURCES), Path(paths.RESULTS))
    in_place = (artifact for folder in folders for artifact in artifact_index.artifacts_below(folder, Path()))
    keys = {str(artifact.manifest["fingerprint"]) for artifact in in_place}
    return _unneeded(keys, set(), unfinished=False)


def _unneeded(
    keys: set[str], cells: set[tuple[str, str, str | None]], unfinished: bool = True
) -> list[Unneeded]:
    """What has neither its fingerprint in ``keys`` nor its (stage, cell, code version) in ``cells``.

    ``unfinished`` includes the weights and training state of checkpoints without a manifest.
    """
    found, needed = [], set(keys)
    for folder in sorted(Path(paths.CACHE).glob("??/*")):
        stage, cell, code = _recorded(folder)
        version = acceptances.accepted_version(stage, code)[0] if code else None
        if folder.name in keys or (stage, files.canonical_json(cell), version) in cells:
            needed.add(folder.name)
        else:
            found.append(Unneeded(folder, f"cached {stage or 'result'}", _freed(folder)))
    for folder in sorted(Path(paths.FIGURES).glob("??/*")):
        # every report that contains the figure has a hard link to it
        if all(path.stat().st_nlink == 1 for path in folder.iterdir()):
            found.append(Unneeded(folder, "figure of no report", _freed(folder)))
    short = {key[:12] for key in needed}
    for checkpoint in sorted(Path().glob(paths.CHECKPOINT_FOLDERS)):
        if not unfinished and not (checkpoint / "manifest.json").exists():
            continue
        current, failed = _folders(checkpoint / "manifest.json")
        for folder in sorted(path for path in checkpoint.iterdir() if path.is_dir()):
            if folder.name == failed:
                found.append(Unneeded(folder, "training state of a failed run", _freed(folder)))
            elif folder.name not in short | {current}:
                found.append(Unneeded(folder, "weights or training state", _freed(folder)))
            elif folder.name == current and (state := folder / "state").is_dir():
                found.append(Unneeded(state, "training state of a finished run", _freed(state)))
    return found


def remove(found: Sequence[Unneeded]) -> int:
    """Remove the folders and return the bytes freed. Raises PruneError if a workflow runs here, or the lock cannot be written."""
    try:
        # This is the lock of the workflow. A workflow that starts meanwhile stops with a message.
        with locks.acquire("prune", Path(paths.CONTROLLER_LOCK), wait=False):
            for unneeded in found:
                # A cache entry is used as long as this file exists, so remove it first.
                (unneeded.path / cache.COMPLETE).unlink(missing_ok=True)
                shutil.rmtree(unneeded.path)
    except locks.LockError as error:
        raise PruneError(str(error)) from None
    return sum(unneeded.size for unneeded in found)


def _needed(
    plans: Sequence[Sequence[ExpectedResult]],
) -> tuple[set[str], set[tuple[str, str, str | None]]]:
    """The fingerprints that the plans need.

    For results whose fingerprint is not known yet: (stage, cell as JSON, accepted code version).
    """
    recorded, keys = Manifests(), set()
    cells: set[tuple[str, str, str | None]] = set()
    for expected in plans:
        for status in staleness.statuses(expected, recorded):
            result, code = status.result, acceptances.accepted_version(status.result.stage)[0]
            if Path(result.recorded_in).exists():
                # Keep the cached copy of a result that exists, even if it is stale.
                with contextlib.suppress(manifests.ManifestError):
                    keys.add(str(recorded[result.recorded_in].get("fingerprint")))
            open_cell = (result.stage, files.canonical_json(result.cell), code)
            if status.after:
                cells.add(open_cell)
                continue
            try:
                checksums = current_inputs.checksums(result, recorded, trust_mtimes=True)
            except PolycalError:
                cells.add(open_cell)
            else:
                keys.update(current_inputs.fingerprints(result, checksums, code))
    return keys, cells


def _recorded(folder: Path) -> tuple[str, Any, str | None]:
    """Stage, cell and code version of a cached result; ("", {}, None) if none of its files has a manifest."""
    for path in sorted(p for p in folder.iterdir() if p.name != cache.COMPLETE and p.is_file()):
        try:
            manifest = manifests.read(path)
        except manifests.ManifestError:
            continue
        if "fingerprint" in manifest:
            return manifest["stage"], manifest["cell"], manifest["code_version"]
    return "", {}, None


def _folders(path: Path) -> tuple[str | None, str | None]:
    """The names of two folders: of the weights that a manifest describes, and of a failed training's state.

    At least one of them is None.
    """
    try:
        manifest = manifests.read(path)
    except manifests.ManifestError:
        return None, None
    if failures.of(manifest):
        return None, str(manifest["fingerprint"])[:12]
    return next(iter(Path(str(manifest.get("folder", ""))).parts), None), None


def _freed(folder: Path) -> int:
    """The bytes that removing a folder frees. A file with a hard link elsewhere frees nothing."""
    sizes = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return sum(size.st_size for size in sizes if size.st_nlink == 1)


def as_text(found: Sequence[Unneeded]) -> str:
    """One line for each folder, then the number of folders and their size in megabytes."""
    lines = [f"{unneeded.path}: {unneeded.what}, {unneeded.size / 1e6:.1f} MB" for unneeded in found]
    total = sum(unneeded.size for unneeded in found) / 1e6
    return "\n".join([*lines, f"{len(found)} not needed, {total:.1f} MB"]) + "\n"
