"""The answers of one Score file as arrays: log-probabilities over the options, and what each question gives.

Questions have different numbers of options: arrays are [N, K] with K the largest number in the file and
minus infinity beyond a question's own options.
"""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from polycal.artifacts import records
from polycal.errors import PolycalError

Array = NDArray[np.float64]

CELL = ("model", "data", "recipe", "beta", "seed", "benchmark", "protocol", "language")
"""The columns that name a cell, in the order of every table."""


class MeasureError(PolycalError):
    """Score files that cannot be measured together; the message names the file and what would be right."""


@dataclass(frozen=True)
class Answers:
    """One Score file: N questions of one checkpoint in one language."""

    path: str
    cell: dict[str, str]
    candidates: str
    question_id: NDArray[np.object_]
    gold: NDArray[np.int64]
    options: NDArray[np.int64]
    logprob: Array
    tokens: Array
    bytes: Array
    unconditional: Array | None

    def normalisations(self, wanted: list[str]) -> list[str]:
        """Those ``wanted``, and ``pmi`` where the file holds unconditional log-probabilities."""
        return [*wanted, *(["pmi"] if self.unconditional is not None and "pmi" not in wanted else [])]

    def log_probabilities(self, normalise: str) -> Array:
        """Log of the distribution over each question's options, [N, K], minus infinity beyond them.

        sum: softmax of the summed log-probabilities; token, byte: of those divided by the candidate's
        tokens or UTF-8 bytes; pmi: of log p(candidate | question) - log p(candidate), Holtzman et al. 2021.
        """
        if normalise == "pmi":
            if self.unconditional is None:
                raise MeasureError(f"{self.path}: normalise 'pmi' needs option_logprob_unconditional.")
            inside = np.isfinite(self.logprob)
            score = np.full_like(self.logprob, -np.inf)
            np.subtract(self.logprob, self.unconditional, out=score, where=inside)
        elif normalise in ("token", "byte"):
            length = self.tokens if normalise == "token" else self.bytes
            score = self.logprob / length
        elif normalise == "sum":
            score = self.logprob
        else:
            raise MeasureError(f"normalise is {normalise!r}, but must be 'sum', 'token', 'byte' or 'pmi'.")
        return score - log_sum_exp(score)[:, None]


@dataclass(frozen=True)
class Outcomes:
    """What each question gives under one normalisation, every array [N]."""

    confidence: Array
    correct: Array
    entropy: Array
    entropy_normalised: Array
    brier: Array
    nll: Array
    ties: int
    """Questions whose most probable candidate has an equal; the first counts as chosen."""


def log_sum_exp(score: Array) -> Array:
    """log Σ exp over the last axis; rows hold at least one finite entry."""
    top = score.max(-1, keepdims=True)
    return (top + np.log(np.exp(score - top).sum(-1, keepdims=True)))[..., 0]


def outcomes(log_p: Array, gold: NDArray[np.int64], options: NDArray[np.int64]) -> Outcomes:
    """Per-question values from ``log_p`` [N, K], computed in logs so that nothing underflows to infinity."""
    p = np.exp(log_p)
    row = np.arange(len(gold))
    top = log_p.max(1)
    entropy = -np.einsum("nk,nk->n", p, np.maximum(log_p, -1e4))  # 0 · log 0 is 0
    return Outcomes(
        confidence=np.exp(top),
        correct=(log_p.argmax(1) == gold).astype(np.float64),
        entropy=entropy,
        entropy_normalised=entropy / np.log(options),
        brier=np.einsum("nk,nk->n", p, p) - 2 * p[row, gold] + 1,
        nll=-log_p[row, gold],
        ties=int(((log_p == top[:, None]).sum(1) > 1).sum()),
    )


def cell_of(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The cell in a Score file's metadata. Raises MeasureError where a column of it is missing."""
    cell = records.metadata(path).get("cell")
    if not isinstance(cell, Mapping):
        raise MeasureError(
            f"{path}: its metadata holds no cell; only files of `polycal score` can be measured."
        )
    missing = [name for name in CELL if name not in cell]
    if missing:
        raise MeasureError(f"{path}: the cell in its metadata lacks {missing[0]!r}.")
    return dict(cell)


def read(path: str | os.PathLike[str], cell: Mapping[str, Any] | None = None) -> Answers:
    """Read and check a Score file; ``cell`` overrules the one in its metadata.

    Raises RecordError for a broken file and MeasureError for one without questions, with a question of a
    single option, with an id twice, or with a candidate of no tokens or bytes.
    """
    cell = cell_of(path) if cell is None else cell
    table = records.read_scores(path)
    if not table.num_rows:
        raise MeasureError(f"{path}: holds no question.")
    ids = np.asarray(table["question_id"].to_numpy(), dtype=object)
    options = table["option_logprob"].combine_chunks().value_lengths().to_numpy().astype(np.int64)
    if (options < 2).any():
        raise MeasureError(
            f"{path}: row {int(np.argmax(options < 2))}: a single option; a distribution needs at least two."
        )
    if len(set(ids)) < len(ids):
        twice = next(name for name, count in Counter(ids).items() if count > 1)
        raise MeasureError(f"{path}: question_id {twice!r} stands twice; ids must be unique.")
    tokens, size = _padded(table["option_tokens"], options, 1.0), _padded(table["option_bytes"], options, 1.0)
    for name, length in (("option_tokens", tokens), ("option_bytes", size)):
        if (length < 1).any():
            raise MeasureError(
                f"{path}: row {int(np.argmax((length < 1).any(1)))}: {name} must be at least 1."
            )
    extra = records.UNCONDITIONAL
    return Answers(
        path=str(path),
        cell={name: str(cell.get(name, "none")) for name in CELL},
        candidates=str((cell.get("settings") or {}).get("candidates", "letters")),
        question_id=ids,
        gold=table["gold"].to_numpy().astype(np.int64),
        options=options,
        logprob=_padded(table["option_logprob"], options, -np.inf),
        tokens=tokens,
        bytes=size,
        unconditional=_padded(table[extra], options, -np.inf) if extra in table.column_names else None,
    )


def _padded(column: pa.ChunkedArray, options: NDArray[np.int64], fill: float) -> Array:
    values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    inside = np.arange(options.max())[None, :] < options[:, None]
    matrix = np.full(inside.shape, fill)
    matrix[inside] = values
    return matrix
