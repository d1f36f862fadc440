"""The stage ``measure_embeddings``: diversity of prompt embeddings, and how it goes with calibration."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from polycal.analysis import diversity_measures, ece_correlations
from polycal.analysis.score_arrays import cell_of
from polycal.artifacts import records, tables
from polycal.artifacts.manifests import Stamp
from polycal.errors import PolycalError
from polycal.metrics.arrays import Array
from polycal.vocabulary import CELL_KEYS

TABLES = ("diversity", "spectra", "subsamples", "ece_correlations")


class DiversityError(PolycalError):
    """Embeddings that cannot be compared; the message names the file."""


def table_names(cell: Mapping[str, Any]) -> tuple[str, ...]:
    """The tables that ``measure_embeddings`` writes."""
    return TABLES


def input_checksums(cell: Mapping[str, Any], *, embeddings: Sequence[Path], measured: Path) -> dict[str, str]:
    """Checksum of every Embedding record, by path, and under ``cells`` that of the measured ECE.

    Raises RecordError for a record that is missing or broken.
    """
    checksums = {str(path): str(records.metadata(path)["content"]) for path in embeddings}
    return {**checksums, "cells": ece_checksum(measured)}


def ece_checksum(measured: Path) -> str:
    """Checksum of the columns that are read of the study's cells.parquet, whenever it was measured."""
    return records.checksum(pq.ParquetFile(measured).read(columns=[*CELL_KEYS, "ece"]))


def measure_embeddings(
    cell: Mapping[str, Any],
    *,
    embeddings: Sequence[Path],
    measured: Path,
    missing: Sequence[Path] = (),
    out: Path,
    stamp: Stamp,
) -> None:
    """Write diversity, spectra, subsamples and ece_correlations into the folder ``out``.

    ``embeddings`` are Embedding records, ``missing`` those of the grid that do not exist, ``measured`` is the
    study's cells.parquet. ``cell["settings"]``: bootstrap_samples, seed. Raises DiversityError if a cell has no ECE, or if two checkpoints of a model embed
    different questions of a language, and RecordError for a broken record.
    """
    settings = cell["settings"]
    rows, curves, spectra = [], [], []
    first_of: dict[tuple[str, ...], tuple[Path, list[str]]] = {}
    for path in sorted(embeddings):
        record_cell = cell_of(path)
        key = {name: str(record_cell[name]) for name in CELL_KEYS}
        ids, x = _read(path)
        comparable = (key["model"], key["benchmark"], key["protocol"], key["language"])
        first_path, first_ids = first_of.setdefault(comparable, (path, ids))
        if first_ids != ids:
            raise DiversityError(
                f"{first_path} and {path} embed different questions; make both from the same ones."
            )
        rows.append({**key, **diversity_measures.describe(x)})
        spectra.append({**key, "eigenvalues": diversity_measures.spectrum(x).tolist()})
        curves += [{**key, **row} for row in diversity_measures.subsample_curve(x, settings["seed"])]
    diversity = pd.DataFrame(rows)
    correlations = ece_correlations.ece_correlations(_with_ece(diversity, measured), settings)
    found = {
        "diversity": diversity,
        "spectra": pd.DataFrame(spectra),
        "subsamples": pd.DataFrame(curves),
        "ece_correlations": pd.DataFrame(correlations, columns=ece_correlations.COLUMNS),
    }
    metadata = stamp()
    for name, table in found.items():
        tables.write(table, out / f"{name}.parquet", {**metadata, "table": name})


def _read(path: Path) -> tuple[list[str], Array]:
    """Question ids and embeddings of one record, [N, D]. Raises RecordError."""
    table = records.read_embeddings(path)
    flat = table["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return table["question_id"].to_pylist(), flat.astype(np.float64).reshape(table.num_rows, -1)


def _with_ece(diversity: pd.DataFrame, measured: Path) -> pd.DataFrame:
    """The diversity of each cell with its ECE and the MEASURES that are compared with it."""
    ece = pq.ParquetFile(measured).read(columns=[*CELL_KEYS, "ece"]).to_pandas()
    table = diversity.merge(ece, on=list(CELL_KEYS), how="left")
    if table.ece.isna().any():
        lost = table[table.ece.isna()].iloc[0]
        raise DiversityError(
            f"{measured}: holds no ECE of {lost.model}, {lost.benchmark}, {lost.protocol}, {lost.language}; embed"
            " only what the study scores."
        )
    with np.errstate(divide="ignore"):
        return table.assign(
            log_smallest=np.log(table.smallest_shrunk),
            log_relative=np.log(table.smallest_shrunk / (table.trace / table.width)),
            log_trace=np.log(table.trace),
        )
