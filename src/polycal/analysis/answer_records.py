"""Records of generated answers, and of their clusters by meaning: which of them can be measured.

A cell is a checkpoint on one language of a benchmark without options. Its protocol is ``generate``. In a study with an
entailment model, a cell can be measured only if it has both records.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from polycal.analysis import usable_records
from polycal.analysis.conditions import cell_key
from polycal.analysis.holes import Hole
from polycal.analysis.usable_records import RecordKind
from polycal.artifacts import cell_paths, cluster_records, open_records, records
from polycal.artifacts.records import RecordError
from polycal.vocabulary import CHECKPOINT_KEYS, NONE

PROTOCOL = "generate"


def names(cell: Mapping[str, Any]) -> dict[str, str]:
    """CELL_KEYS of a record, from the cell in its metadata or in its path."""
    checkpoint = {name: str(cell.get(name, NONE)) for name in CHECKPOINT_KEYS}
    named = {name: str(cell[name]) for name in ("model", "benchmark", "language")}
    return {**checkpoint, "protocol": PROTOCOL, **named}


def _ids(table: pa.Table) -> list[str]:
    return [str(name) for name in table["question_id"].to_pylist()]


ANSWERS = RecordKind("generate", "questions", names, lambda path: _ids(open_records.read_generations(path)))
CLUSTERS = RecordKind("cluster", "questions", names, lambda path: _ids(cluster_records.read_clusters(path)))


def checksums(generations: Sequence[Path], clusters: Sequence[Path]) -> dict[str, str]:
    """The checksum of every record, by path. Raises as ``usable_records.checksums``."""
    return {
        **usable_records.checksums(ANSWERS, generations),
        **usable_records.checksums(CLUSTERS, clusters),
    }


def usable(
    generations: Sequence[Path], clusters: Sequence[Path], missing: Sequence[Path]
) -> tuple[dict[Path, Path | None], list[Hole]]:
    """The records of answers that can be measured, each with that of its clusters, and the holes sorted by cell.

    ``missing`` are paths of records of both kinds that do not exist. If there are no ``clusters``, existing or missing,
    answers need none. Raises as ``usable_records.split``.
    """
    unclustered = [path for path in missing if "entailment" in cell_paths.cell_in(path)]
    unanswered = [path for path in missing if path not in unclustered]
    answered, holes = usable_records.split(ANSWERS, generations, unanswered)
    if not clusters and not unclustered:
        return dict.fromkeys(answered), holes
    clustered, without = usable_records.split(CLUSTERS, clusters, unclustered)
    of_cell = {_cell(path): path for path in clustered}
    lost = {cell_key(hole.cell): hole for hole in [*without, *holes]}
    both: dict[Path, Path | None] = {
        path: of_cell[_cell(path)] for path in answered if _cell(path) in of_cell
    }
    return both, [lost[cell] for cell in sorted(lost)]


def _cell(path: Path) -> tuple[str, ...]:
    return cell_key(names(records.metadata(path)["cell"]))


def read_clusters(path: Path, answers: pa.Table) -> pa.Table:
    """The clusters of ``answers`` in a record. Raises RecordError if they are of other answers."""
    clusters = cluster_records.read_clusters(path)
    samples = [pa.compute.list_value_length(table["samples"]).to_pylist() for table in (clusters, answers)]
    if _ids(clusters) != _ids(answers) or samples[0] != samples[1]:
        raise RecordError(
            f"{path}: has other questions or numbers of samples than the record of answers; cluster them again."
        )
    return clusters
