"""The stage ``measure_embeddings``: the diversity of prompt embeddings, and its correlation with the ECE."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from polycal.analysis import diversity_measures, ece_correlations, holes, usable_records
from polycal.analysis.holes import Hole
from polycal.analysis.usable_records import RecordKind
from polycal.artifacts import records, tables
from polycal.artifacts.manifests import Stamp
from polycal.errors import PolycalError
from polycal.metrics.arrays import Array
from polycal.vocabulary import CELL_KEYS

HOLES = "embedding_holes"
TABLES = ("diversity", "spectra", "subsamples", "ece_correlations", HOLES)


NO_ECE = "its answers have no ECE, so that it is in no correlation."


class DiversityError(PolycalError):
    """Embeddings that cannot be compared with the ECE; the message contains the file."""


def table_names(cell: Mapping[str, Any]) -> tuple[str, ...]:
    """The tables that ``measure_embeddings`` writes."""
    return TABLES


def input_checksums(
    cell: Mapping[str, Any], *, embeddings: Sequence[Path], missing: Sequence[Path] = (), measured: Path
) -> dict[str, str]:
    """The checksum of every Embedding record, by path, and of the measured ECE, under ``cells``.

    Raises RecordError if a record is missing, or if it is broken and its path does not contain its cell.
    """
    return {**usable_records.checksums(KIND, embeddings), "cells": ece_checksum(measured)}


def ece_checksum(measured: Path) -> str:
    """The checksum of the columns of the study's cells.parquet that this stage reads.

    It does not depend on the run that wrote the file.
    """
    return records.checksum(pq.ParquetFile(measured).read(columns=[*CELL_KEYS, "ece"]))


def measure_embeddings(
    cell: Mapping[str, Any],
    *,
    embeddings: Sequence[Path],
    missing: Sequence[Path] = (),
    measured: Path,
    out: Path,
    stamp: Stamp,
) -> None:
    """Write the tables of TABLES into the folder ``out``.

    ``embeddings`` are Embedding records, ``missing`` are the paths of records that do not exist, and
    ``measured`` is the study's cells.parquet. ``cell["settings"]`` has bootstrap_samples and seed. Failed,
    missing and unusable records, and cells without an ECE, are rows of the table embedding_holes.

    Raises DiversityError if no cell of a benchmark and protocol has an ECE, and MeasureError if no record is
    usable.
    """
    settings = cell["settings"]
    rows, curves, spectra = [], [], []
    usable, found = usable_records.split(KIND, embeddings, missing)
    for path in sorted(usable):
        key = usable_records.score_names(records.metadata(path)["cell"])
        x = _read(path)[1]
        rows.append({**key, **diversity_measures.describe(x)})
        spectra.append({**key, "eigenvalues": diversity_measures.spectrum(x).tolist()})
        curves += [{**key, **row} for row in diversity_measures.subsample_curve(x, settings["seed"])]
    diversity = pd.DataFrame(rows)
    with_ece, without = _with_ece(diversity, measured)
    found += without
    correlations = ece_correlations.ece_correlations(with_ece, settings, holes.gaps(found))
    results = {
        "diversity": diversity,
        "spectra": pd.DataFrame(spectra),
        "subsamples": pd.DataFrame(curves),
        "ece_correlations": pd.DataFrame(correlations, columns=ece_correlations.COLUMNS),
        HOLES: pd.DataFrame([hole.row for hole in found], columns=holes.COLUMNS),
    }
    metadata = stamp()
    for name, table in results.items():
        tables.write(table, out / f"{name}.parquet", {**metadata, "table": name})


def _read(path: Path) -> tuple[list[str], Array]:
    """Question ids [N] and embeddings [N, D] of one record. Raises RecordError if it is broken."""
    table = records.read_embeddings(path)
    flat = table["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return table["question_id"].to_pylist(), flat.astype(np.float64).reshape(table.num_rows, -1)


def _question_ids(path: Path) -> list[str]:
    """The question ids of one record, after a check of its embeddings. Raises RecordError if it is broken."""
    return list(records.read_embeddings(path)["question_id"].to_pylist())


KIND = RecordKind("embed", "questions", usable_records.score_names, _question_ids)


def _with_ece(diversity: pd.DataFrame, measured: Path) -> tuple[pd.DataFrame, list[Hole]]:
    """The cells that have an ECE, with ECE and MEASURES, and a hole for each other cell."""
    ece = pq.ParquetFile(measured).read(columns=[*CELL_KEYS, "ece"]).to_pandas()
    table = diversity.merge(ece, on=list(CELL_KEYS), how="left")
    for names, part in table.groupby(["benchmark", "protocol"]):
        if part.ece.isna().all():
            raise DiversityError(
                f"{measured}: holds no ECE of {', '.join(map(str, names))}; embed only what the study scores."
            )
    without = [
        Hole({name: str(row[name]) for name in CELL_KEYS}, "score", NO_ECE)
        for row in table[table.ece.isna()].to_dict("records")
    ]
    table = table[table.ece.notna()]
    with np.errstate(divide="ignore"):
        complete = table.assign(
            log_smallest=np.log(table.smallest_shrunk),
            log_relative=np.log(table.smallest_shrunk / (table.trace / table.width)),
            log_trace=np.log(table.trace),
        )
    return complete, without
