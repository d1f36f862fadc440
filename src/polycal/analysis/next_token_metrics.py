"""Calibration of next-token predictions: metrics of TokenScore records, by language, with intervals.

A cell here is a checkpoint on the held-out conversations of a data set: its benchmark is the data set, its
protocol ``next-token``. Confidence is the probability of the most probable token, which is right where it
stands in the conversation. Tokens of one conversation hang together, so conversations are resampled.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from polycal.analysis import bootstrap, cell_metrics, contrasts
from polycal.analysis import measure as statistics
from polycal.analysis.score_arrays import CELL, Outcomes
from polycal.artifacts import records
from polycal.artifacts.manifests import Stamp
from polycal.errors import PolycalError
from polycal.metrics import calibration
from polycal.metrics.arrays import Array

TABLES = ("next_token", "next_token_reliability", "next_token_contrasts")
PROTOCOL = "next-token"
FLOOR_DRAWS = 50
ALL = "all"
"""Stands for all languages together."""


class TokensError(PolycalError):
    """TokenScore records that cannot be measured together; the message names the file."""


def measure(files: Sequence[Path], *, settings: Mapping[str, Any], out: Path, stamp: Stamp) -> None:
    """Write next_token, next_token_reliability and next_token_contrasts into ``out``.

    ``settings``: bins, binning, draws, seed. Contrasts are those of ``contrasts.contrast_rows``, by language and
    over all tokens. Raises RecordError or TokensError before anything is written.
    """
    found: list[cell_metrics.Measured] = []
    asked: dict[tuple[str, str], tuple[Path, pa.ChunkedArray]] = {}
    for path in sorted(files):
        said, table = records.metadata(path), records.read_tokens(path)
        side = (str(said["cell"]["model"]), str(said["cell"]["heldout"]))
        first, known = asked.setdefault(side, (path, table["conversation"]))
        if not known.equals(table["conversation"]):
            raise TokensError(
                f"{first} and {path} hold different conversations; make both from the same ones."
            )
        names = np.array([name or "unknown" for name in table["language"].to_pylist()], dtype=object)
        for language in [ALL, *sorted(set(names))]:
            rows = np.arange(len(names)) if language == ALL else np.flatnonzero(names == language)
            found.append(_cell(said, table.take(rows), language, settings))
    apart = [one for one in found if one.cell["language"] != ALL]
    whole = [one for one in found if one.cell["language"] == ALL]
    over = [row for row in contrasts.contrast_rows(whole) if row["language"] == ALL]
    tables = {
        "next_token": pd.DataFrame([one.row for one in found]),
        "next_token_reliability": pd.DataFrame([row for one in found for row in one.reliability]),
        "next_token_contrasts": pd.DataFrame(
            [*contrasts.contrast_rows(apart), *over], columns=contrasts.COLUMNS
        ),
    }
    closed = stamp()
    for name, made in tables.items():
        statistics.write(made, out / f"{name}.parquet", {**closed, "table": name})


def outcomes(table: pa.Table, vocabulary: int) -> Outcomes:
    """What each target token gives, from the columns of a TokenScore record."""
    column = {name: table[name].to_numpy().astype(np.float64) for name in records.TOKEN_SCORE.names[3:]}
    return Outcomes(
        confidence=np.minimum(np.exp(column["top_logprob"]), 1.0),
        correct=column["correct"],
        entropy=column["entropy"],
        entropy_normalised=column["entropy"] / np.log(vocabulary),
        brier=column["square"] - 2 * np.exp(column["logprob"]) + 1,
        nll=-column["logprob"],
        ties=0,
    )


def draws(
    found: Outcomes, cluster: np.ndarray, weights: Array, *, bins: int, binning: calibration.Binning
) -> Array:
    """bootstrap.METRICS of every draw of clusters, [R, 9]; ``cluster`` [T] numbers those of ``weights`` [R, C].

    Bins are cut once, on all tokens.
    """
    index = calibration.bin_index(found.confidence, bins, binning)
    values = [
        found.correct,
        found.confidence,
        found.entropy,
        found.entropy_normalised,
        found.brier,
        found.nll,
    ]
    count = weights.shape[1]
    sums = np.stack([np.bincount(cluster, weights=value, minlength=count) for value in values], axis=1)
    place = cluster * bins + index
    difference = found.correct - found.confidence
    member = np.bincount(place, minlength=count * bins).reshape(count, bins).astype(np.float64)
    gaps = np.bincount(place, weights=difference, minlength=count * bins).reshape(count, bins)
    total, n, error = weights @ sums, weights @ member, weights @ gaps
    size = n.sum(1, keepdims=True)
    accuracy, confidence, entropy, normalised, brier, nll = (total / size).T
    square = np.divide(error**2, n, out=np.zeros_like(error), where=n > 0)
    ece, rms = (np.abs(error) / size).sum(1), np.sqrt((square / size).sum(1))
    return np.column_stack(
        [accuracy, confidence, confidence - accuracy, entropy, normalised, ece, rms, brier, nll]
    )


def _cell(
    said: Mapping[str, Any], table: pa.Table, language: str, settings: Mapping[str, Any]
) -> cell_metrics.Measured:
    told = said["cell"]
    cell = {
        **{name: str(told[name]) for name in CELL[:5]},
        "benchmark": str(told["heldout"]),
        "protocol": PROTOCOL,
        "language": language,
    }
    how = {"bins": settings["bins"], "binning": settings["binning"]}
    found = outcomes(table, said["vocabulary"])
    conversation, cluster = np.unique(table["conversation"].to_numpy(), return_inverse=True)
    # one stream a held-out set and language, so that differences between checkpoints are paired
    resamples = bootstrap.Resamples(
        f"{cell['benchmark']} {language}", map(str, conversation), settings["bootstrap_samples"], settings["seed"]
    )
    estimate = bootstrap.estimates(found, **how)
    drawn = draws(found, cluster, resamples.weights, **how)
    uniform = np.random.default_rng(settings["seed"]).random((FLOOR_DRAWS, table.num_rows), dtype=np.float32)
    floor, floor_high = bootstrap.noise_floor(found.confidence, uniform, **how)
    row = {
        **cell,
        "n": table.num_rows,
        "conversations": len(conversation),
        **cell_metrics.bounded(bootstrap.METRICS, estimate, drawn),
        "ece_floor": floor,
        "ece_floor_high": floor_high,
    }
    return cell_metrics.Measured(
        cell=cell,
        resource="",
        candidates="tokens",
        estimate=estimate,
        draws=drawn,
        smooth=float("nan"),
        smooth_draws=np.zeros(0),
        row=row,
        reliability=cell_metrics.reliability_rows(cell, found, how["bins"], how["binning"]),
    )
