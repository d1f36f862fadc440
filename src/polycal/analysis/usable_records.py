"""The records of a study that can be measured, and the reason why each of the others is a hole."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polycal.analysis.conditions import cell_key
from polycal.analysis.holes import Hole
from polycal.analysis.score_arrays import MeasureError
from polycal.artifacts import cell_paths, failures, files, records
from polycal.errors import PolycalError
from polycal.vocabulary import CELL_KEYS, NONE


@dataclass(frozen=True)
class RecordKind:
    """How the records of one stage are read.

    - ``named`` returns the CELL_KEYS of the cell in a record's metadata or in its path. It raises KeyError
      for a missing one.
    - ``units`` reads and checks a record and returns the ids of its units. Checkpoints of a model can be
      compared only if their ids are equal.
    - ``noun`` is the plural of a unit, such as questions.
    """

    stage: str
    noun: str
    named: Callable[[Mapping[str, Any]], dict[str, str]]
    units: Callable[[Path], Sequence[str]]


@dataclass(frozen=True)
class _Checked:
    path: Path
    cell: dict[str, str]
    units: str
    """sha256 of the ids."""


def score_names(cell: Mapping[str, Any]) -> dict[str, str]:
    """CELL_KEYS of the cell of a score or an embedding. A cell without a base seed gets ``none``."""
    return {name: str({"base_seed": NONE, **cell}[name]) for name in CELL_KEYS}


def split(kind: RecordKind, paths: Sequence[Path], missing: Sequence[Path]) -> tuple[list[Path], list[Hole]]:
    """The records that can be measured, and a hole for each of the others, both sorted by cell.

    Holes are failed results, the paths ``missing``, records that ``kind.units`` refuses, and records whose
    units differ from those of most records of their model, benchmark, protocol and language.

    Raises MeasureError if two records have the same cell, if the cell of a record is unknown, or if no record
    is left.
    """
    found: list[tuple[Path, dict[str, str]]] = []
    holes: list[tuple[Path, Hole]] = []
    for path in missing:
        sentence = "its record is missing: the job that makes it failed or did not run."
        holes.append((path, Hole(_cell_by_path(kind, path), kind.stage, sentence)))
    for path in paths:
        described = _describe(kind, path)
        if isinstance(described, Hole):
            holes.append((path, described))
        else:
            found.append((path, described))
    _check_unique([*found, *((path, hole.cell) for path, hole in holes)])
    checked: list[_Checked] = []
    for path, cell in sorted(found, key=lambda pair: cell_key(pair[1])):
        try:
            checked.append(_Checked(path, cell, _digest(kind.units(path))))
        except PolycalError as error:
            holes.append((path, Hole(cell, "measure", str(error))))
    measured, others = _of_the_same_units(kind, checked)
    listed = sorted([*(hole for _, hole in holes), *others], key=lambda hole: cell_key(hole.cell))
    if not measured and not listed:
        raise MeasureError(f"no record of polycal {kind.stage} to measure.")
    if not measured:
        raise MeasureError(
            f"none of the {len(listed)} records can be measured; the first, {', '.join(cell_key(listed[0].cell))}:"
            f" {listed[0].stage}: {listed[0].reason}"
        )
    return measured, listed


def checksums(kind: RecordKind, paths: Iterable[Path]) -> dict[str, str]:
    """The checksum of each record, by path.

    It is over the rows of a record, with the reason if it is a failed result, and over the bytes of a broken
    file. Raises RecordError if a record is missing, or if it is broken and its path does not contain its
    cell.
    """
    found: dict[str, str] = {}
    for path in paths:
        try:
            metadata = records.metadata(path)
        except records.RecordError:
            if not path.exists() or _named(kind, cell_paths.cell_in(path)) is None:
                raise
            found[str(path)] = files.sha256(path)
            continue
        failure = failures.of(metadata)
        reason = f" {failure.stage}: {failure.reason}" if failure else ""
        found[str(path)] = f"{metadata['content']}{reason}"
    return found


def readable(kind: RecordKind, paths: Iterable[Path]) -> list[dict[str, str]]:
    """The cells of the records that are neither failed nor broken."""
    described = (_describe(kind, path) for path in paths)
    return [cell for cell in described if not isinstance(cell, Hole)]


def _describe(kind: RecordKind, path: Path) -> dict[str, str] | Hole:
    """The cell of a record, or a hole if the record is failed or broken."""
    try:
        metadata = records.metadata(path)
    except records.RecordError as error:
        if not path.exists() or (cell := _named(kind, cell_paths.cell_in(path))) is None:
            raise
        return Hole(cell, "measure", str(error))
    if not isinstance(metadata.get("cell"), Mapping):
        raise MeasureError(
            f"{path}: its metadata holds no cell; only files of `polycal {kind.stage}` can be measured."
        )
    try:
        cell = kind.named(metadata["cell"])
    except KeyError as error:
        raise MeasureError(f"{path}: the cell in its metadata lacks {error.args[0]!r}.") from None
    failure = failures.of(metadata)
    return Hole(cell, failure.stage, failure.reason) if failure else cell


def _named(kind: RecordKind, cell: Mapping[str, Any]) -> dict[str, str] | None:
    """The CELL_KEYS of a cell; None if one is missing."""
    try:
        return kind.named(cell)
    except KeyError:
        return None


def _cell_by_path(kind: RecordKind, path: Path) -> dict[str, str]:
    cell = _named(kind, cell_paths.cell_in(path))
    if cell is None:
        raise MeasureError(
            f"{path}: is missing, and its path does not name its cell as in model=NAME/base_seed=NAME/…"
        )
    return cell


def _check_unique(cells: Iterable[tuple[Path, dict[str, str]]]) -> None:
    first: dict[tuple[str, ...], Path] = {}
    for path, cell in cells:
        other = first.setdefault(cell_key(cell), path)
        if other is not path:
            raise MeasureError(f"{other} and {path} hold the same cell: {', '.join(cell_key(cell))}.")


def _digest(units: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(units).encode()).hexdigest()


def _of_the_same_units(kind: RecordKind, checked: Sequence[_Checked]) -> tuple[list[Path], list[Hole]]:
    """The records with the units of most records of their model, benchmark, protocol and language.

    The others are returned as holes. If two sets of units are equally frequent, that of the first record is
    used.
    """
    groups: dict[tuple[str, ...], list[_Checked]] = {}
    for record in checked:
        names = tuple(record.cell[name] for name in ("model", "benchmark", "protocol", "language"))
        groups.setdefault(names, []).append(record)
    refused: dict[Path, Hole] = {}
    for names, members in groups.items():
        counts: dict[str, int] = {}
        for record in members:
            counts[record.units] = counts.get(record.units, 0) + 1
        chosen = max(counts, key=lambda units: counts[units])  # the first of equally frequent ones
        kept = next(record for record in members if record.units == chosen)
        for record in members:
            if record.units != chosen:
                reason = (
                    f"{record.path}: its {kind.noun} are not those of {kept.path}, which {counts[chosen]} of"
                    f" {len(members)} records of {', '.join(names)} have ({_difference(kind, record, kept)});"
                    " make all from the same ones."
                )
                refused[record.path] = Hole(record.cell, "measure", reason)
    return [record.path for record in checked if record.path not in refused], list(refused.values())


def _difference(kind: RecordKind, record: _Checked, kept: _Checked) -> str:
    here, there = set(kind.units(record.path)), set(kind.units(kept.path))
    if here == there:
        return "in another order or number"
    return f"{len(here - there)} only here, {len(there - here)} only there, such as {min(here ^ there)!r}"
