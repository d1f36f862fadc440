"""The stage ``measure_next_token``: calibration of next-token predictions by language, with intervals.

A cell is a checkpoint on the held-out conversations of a data set. Its benchmark is the data set, and its
protocol is ``next-token``. Confidence is the probability of the most probable token. It is correct if it is
the next token of the conversation. Tokens of one conversation depend on each other, so whole conversations
are resampled.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from polycal.analysis import bootstrap, contrasts, holes, noise_floor, quantities, usable_records
from polycal.analysis.cell_metrics import MeasuredCell, reliability_rows
from polycal.analysis.conditions import Condition
from polycal.analysis.holes import Gaps
from polycal.analysis.intervals import with_intervals
from polycal.analysis.question_outcomes import QuestionOutcomes
from polycal.analysis.resampling import Resamples
from polycal.analysis.usable_records import RecordKind
from polycal.artifacts import records, tables
from polycal.artifacts.manifests import Stamp
from polycal.vocabulary import CHECKPOINT_KEYS, NONE

HOLES = "next_token_holes"
TABLES = ("next_token", "next_token_reliability", "next_token_contrasts", HOLES)
PROTOCOL = "next-token"
FLOOR_SAMPLES = 50
ALL = "all"
"""The language of rows over the tokens of all languages."""


def table_names(cell: Mapping[str, Any]) -> tuple[str, ...]:
    """The tables that ``measure_next_token`` writes."""
    return TABLES


def input_checksums(
    cell: Mapping[str, Any], *, tokens: Sequence[Path], missing: Sequence[Path] = ()
) -> dict[str, str]:
    """The checksum of every TokenScore record, by path.

    Raises RecordError if a record is missing, or if it is broken and its path does not contain its cell.
    """
    return usable_records.checksums(KIND, tokens)


def measure_next_token(
    cell: Mapping[str, Any],
    *,
    tokens: Sequence[Path],
    missing: Sequence[Path] = (),
    out: Path,
    stamp: Stamp,
) -> None:
    """Write the tables of TABLES into the folder ``out``.

    ``cell["settings"]`` has bins, binning, bootstrap_samples and seed. Contrasts are those of
    ``contrasts.contrast_rows``, by language and over all tokens. ``missing`` are the paths of records that do
    not exist. Missing, failed and unusable records are rows of the table next_token_holes.

    Raises MeasureError or RecordError, before anything is written, if no record is usable.
    """
    cells: list[MeasuredCell] = []
    usable, found = usable_records.split(KIND, tokens, missing)
    for path in sorted(usable):
        metadata, table = records.metadata(path), records.read_tokens(path)
        languages = np.array([name or "unknown" for name in table["language"].to_pylist()], dtype=object)
        for language in [ALL, *sorted(set(languages))]:
            rows = np.arange(len(languages)) if language == ALL else np.flatnonzero(languages == language)
            cells.append(_measure_language(metadata, table.take(rows), language, cell["settings"]))
    single = [one for one in cells if one.cell["language"] != ALL]
    together = [one for one in cells if one.cell["language"] == ALL]
    gaps_of_all = holes.gaps(found)
    over_all = [row for row in contrasts.contrast_rows(together, gaps_of_all) if row["language"] == ALL]
    results = {
        "next_token": pd.DataFrame([one.row for one in cells]),
        "next_token_reliability": pd.DataFrame([row for one in cells for row in one.reliability]),
        "next_token_contrasts": pd.DataFrame(
            [*contrasts.contrast_rows(single, _by_language(gaps_of_all, single)), *over_all],
            columns=contrasts.COLUMNS,
        ),
        HOLES: pd.DataFrame([hole.row for hole in found], columns=holes.COLUMNS),
    }
    facts = stamp()
    for name, table in results.items():
        tables.write(table, out / f"{name}.parquet", {**facts, "table": name})


def _names(cell: Mapping[str, Any]) -> dict[str, str]:
    """CELL_KEYS of a record, which contains all its languages."""
    checkpoint = {name: str(cell.get(name, NONE)) for name in CHECKPOINT_KEYS}
    named = {"model": str(cell["model"]), "benchmark": str(cell["heldout"])}
    return {**checkpoint, **named, "protocol": PROTOCOL, "language": ALL}


def _conversations(path: Path) -> list[str]:
    """The conversation of each token, after a check of the record. Raises RecordError if it is broken."""
    return [str(number) for number in records.read_tokens(path)["conversation"].to_pylist()]


KIND = RecordKind("score_next_token", "conversations", _names, _conversations)


def _by_language(gaps: Gaps, cells: Sequence[MeasuredCell]) -> dict[Condition, set[str]]:
    """For each missing condition, the languages that the other records of its held-out set contain."""
    languages: dict[str, set[str]] = {}
    for cell in cells:
        languages.setdefault(cell.cell["benchmark"], set()).add(cell.cell["language"])
    return {condition: languages.get(condition.benchmark, set()) for condition in gaps}


def token_outcomes(table: pa.Table, vocabulary: int) -> QuestionOutcomes:
    """The outcome of each target token, from the columns of a TokenScore record.

    ``vocabulary`` is the number of tokens in the model's vocabulary.
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
    """Estimates, bootstrap samples and rows of the tokens of one language."""
    cell = {**_names(metadata["cell"]), "language": language}
    bins, binning = settings["bins"], settings["binning"]
    values = token_outcomes(table, metadata["vocabulary"])
    conversation, cluster = np.unique(table["conversation"].to_numpy(), return_inverse=True)
    # All checkpoints have the same bootstrap samples, so that their differences are paired.
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
    floor = noise_floor.noise_floor_samples(values.confidence, uniform, bins=bins, binning=binning)
    floor_mean, floor_high = noise_floor.summary(floor)
    row = {
        **cell,
        "n": table.num_rows,
        "conversations": len(conversation),
        **with_intervals(bootstrap.METRICS, estimate, samples),
        "ece_floor": floor_mean,
        "ece_floor_high": floor_high,
        "interval_covers": quantities.CONVERSATIONS,
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
        floor=floor,
        covers=(quantities.CONVERSATIONS,),
    )
