"""The stage ``measure_next_token``: calibration of next-token predictions by language, with intervals.

A cell is a checkpoint on the held-out conversations of a data set: its benchmark is the data set, its protocol
``next-token``. Confidence is the probability of the most probable token, which is correct if it is the token of
the conversation. Tokens of one conversation depend on each other, so conversations are resampled.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from polycal.analysis import bootstrap, contrasts
from polycal.analysis.cell_metrics import MeasuredCell, reliability_rows
from polycal.analysis.intervals import with_intervals
from polycal.analysis.noise_floor import noise_floor
from polycal.analysis.question_outcomes import QuestionOutcomes
from polycal.analysis.resampling import Resamples
from polycal.artifacts import records, tables
from polycal.artifacts.manifests import Stamp
from polycal.errors import PolycalError
from polycal.vocabulary import CHECKPOINT_KEYS, NONE

TABLES = ("next_token", "next_token_reliability", "next_token_contrasts")
PROTOCOL = "next-token"
FLOOR_SAMPLES = 50
ALL = "all"
"""The language of the rows over all tokens."""


class TokensError(PolycalError):
    """TokenScore records that cannot be measured together; the message names the file."""


def table_names(cell: Mapping[str, Any]) -> tuple[str, ...]:
    """The tables that ``measure_next_token`` writes."""
    return TABLES


def input_checksums(cell: Mapping[str, Any], *, tokens: Sequence[Path]) -> dict[str, str]:
    """Checksum of every TokenScore record, by path. Raises RecordError if one is missing or broken."""
    return {str(path): str(records.metadata(path)["content"]) for path in tokens}


def measure_next_token(
    cell: Mapping[str, Any],
    *,
    tokens: Sequence[Path],
    missing: Sequence[Path] = (),
    out: Path,
    stamp: Stamp,
) -> None:
    """Write next_token, next_token_reliability and next_token_contrasts into the folder ``out``.

    ``missing`` are the records of the grid that do not exist. ``cell["settings"]``: bins, binning, bootstrap_samples, seed. Contrasts are those of
    ``contrasts.contrast_rows``, by language and over all tokens. Raises RecordError or TokensError before
    anything is written.
    """
    cells: list[MeasuredCell] = []
    first_of: dict[tuple[str, str], tuple[Path, pa.ChunkedArray]] = {}
    for path in sorted(tokens):
        metadata, table = records.metadata(path), records.read_tokens(path)
        comparable = (str(metadata["cell"]["model"]), str(metadata["cell"]["heldout"]))
        first_path, conversations = first_of.setdefault(comparable, (path, table["conversation"]))
        if not conversations.equals(table["conversation"]):
            raise TokensError(
                f"{first_path} and {path} hold different conversations; make both from the same ones."
            )
        languages = np.array([name or "unknown" for name in table["language"].to_pylist()], dtype=object)
        for language in [ALL, *sorted(set(languages))]:
            rows = np.arange(len(languages)) if language == ALL else np.flatnonzero(languages == language)
            cells.append(_measure_language(metadata, table.take(rows), language, cell["settings"]))
    single = [one for one in cells if one.cell["language"] != ALL]
    together = [one for one in cells if one.cell["language"] == ALL]
    over_all = [row for row in contrasts.contrast_rows(together) if row["language"] == ALL]
    found = {
        "next_token": pd.DataFrame([one.row for one in cells]),
        "next_token_reliability": pd.DataFrame([row for one in cells for row in one.reliability]),
        "next_token_contrasts": pd.DataFrame(
            [*contrasts.contrast_rows(single), *over_all], columns=contrasts.COLUMNS
        ),
    }
    facts = stamp()
    for name, table in found.items():
        tables.write(table, out / f"{name}.parquet", {**facts, "table": name})


def token_outcomes(table: pa.Table, vocabulary: int) -> QuestionOutcomes:
    """The outcome of each target token, from the columns of a TokenScore record.

    ``vocabulary`` is the number of tokens that the model chooses from.
    """
    column = {name: table[name].to_numpy().astype(np.float64) for name in records.TOKEN_SCORE.names[3:]}
    return QuestionOutcomes(
        confidence=np.minimum(np.exp(column["top_logprob"]), 1.0),
        correct=column["correct"],
        entropy=column["entropy"],
        entropy_normalised=column["entropy"] / np.log(vocabulary),
        brier=column["sum_squared_prob"] - 2 * np.exp(column["logprob"]) + 1,
        nll=-column["logprob"],
        ties=0,
    )


def _measure_language(
    metadata: Mapping[str, Any], table: pa.Table, language: str, settings: Mapping[str, Any]
) -> MeasuredCell:
    cell = {
        **{name: str(metadata["cell"].get(name, NONE)) for name in CHECKPOINT_KEYS},
        "benchmark": str(metadata["cell"]["heldout"]),
        "protocol": PROTOCOL,
        "language": language,
    }
    bins, binning = settings["bins"], settings["binning"]
    values = token_outcomes(table, metadata["vocabulary"])
    conversation, cluster = np.unique(table["conversation"].to_numpy(), return_inverse=True)
    # One stream per held-out set and language, so that differences between checkpoints are paired.
    resamples = Resamples(
        f"{cell['benchmark']} {language}",
        map(str, conversation),
        settings["bootstrap_samples"],
        settings["seed"],
    )
    estimate = bootstrap.estimates(values, bins=bins, binning=binning)
    samples = bootstrap.samples(values, resamples.weights, bins=bins, binning=binning, cluster=cluster)
    uniform = np.random.default_rng(settings["seed"]).random(
        (FLOOR_SAMPLES, table.num_rows), dtype=np.float32
    )
    floor, floor_high = noise_floor(values.confidence, uniform, bins=bins, binning=binning)
    row = {
        **cell,
        "n": table.num_rows,
        "conversations": len(conversation),
        **with_intervals(bootstrap.METRICS, estimate, samples),
        "ece_floor": floor,
        "ece_floor_high": floor_high,
    }
    return MeasuredCell(
        cell=cell,
        resource="",
        candidates="tokens",
        estimate=estimate,
        samples=samples,
        smooth=float("nan"),
        smooth_samples=np.zeros(0),
        row=row,
        reliability=reliability_rows(cell, values, bins, binning),
    )
