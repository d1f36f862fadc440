"""Score records as arrays: the log-probabilities that one checkpoint assigns to the options of each question.

Questions have different numbers of options. Arrays are [N, K], where K is the largest number in the file.
Log-probabilities beyond a question's own options are minus infinity.
"""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from polycal.artifacts import failures, follow_ups, order_spread, records
from polycal.artifacts.candidate_forms import LETTERS, P_TRUE
from polycal.artifacts.follow_ups import FollowUps
from polycal.errors import PolycalError
from polycal.metrics.arrays import Array
from polycal.vocabulary import CELL_KEYS, NONE

MASS_TOLERANCE = 1e-3
"""Rounding of a sum of probabilities, of models in bfloat16 too."""


class MeasureError(PolycalError):
    """Score files that cannot be measured together; the message contains the file and what would be right."""


@dataclass(frozen=True)
class ScoredQuestions:
    """One Score file: N questions, scored by one checkpoint in one language.

    - ``gold`` [N] is the index of the right option, ``options`` [N] the number of options.
    - ``logprob`` and ``unconditional`` [N, K] are log-probabilities of the candidates in nats.
    - ``tokens`` and ``bytes`` [N, K] are the lengths of the candidates. ``tokens`` is None for an imported
      file whose log does not contain them.
    - ``group`` [N] is the group of each question, such as a subject; None for a question without one.
    - ``order_spread`` [N] is how much the order of the options changes the answer. It is None for a file whose
      questions were asked in one order.
    - ``follow_ups`` is what the model says of the option that it chose. It is None for a file without follow-ups.
    """

    path: str
    cell: dict[str, str]
    candidates: str
    question_id: NDArray[np.object_]
    gold: NDArray[np.int64]
    options: NDArray[np.int64]
    logprob: Array
    tokens: Array | None
    bytes: Array
    unconditional: Array | None
    group: NDArray[np.object_]
    order_spread: Array | None = None
    follow_ups: FollowUps | None = None

    def normalisations(self, wanted: list[str]) -> list[str]:
        """The normalisations in ``wanted`` that the file has the values for.

        ``pmi`` is added if the file has unconditional log-probabilities. For P(True), which has no length,
        it is ``sum`` alone.
        """
        if self.candidates in P_TRUE:
            return ["sum"]
        possible = [name for name in wanted if name != "token" or self.tokens is not None]
        return [*possible, *(["pmi"] if self.unconditional is not None and "pmi" not in wanted else [])]

    def log_probabilities(self, normalise: str) -> Array:
        """Log of the distribution over each question's options, [N, K], minus infinity beyond them.

        - sum: softmax of the summed log-probabilities.
        - token, byte: softmax of the sums after division by the candidate's number of tokens or UTF-8 bytes.
        - pmi: softmax of log p(candidate | question) − log p(candidate) (Holtzman et al. 2021, arXiv
          2104.08315).

        Raises MeasureError for another name, for token without numbers of tokens, for pmi without
        unconditional values, and for P(True) with another name than sum.
        """
        if self.candidates in P_TRUE and normalise != "sum":
            raise MeasureError(
                f"{self.path}: normalise {normalise!r} is for likelihoods of options, but the record holds P(True); must"
                " be 'sum'."
            )
        if normalise == "pmi":
            if self.unconditional is None:
                raise MeasureError(f"{self.path}: normalise 'pmi' needs option_logprob_unconditional.")
            inside = np.isfinite(self.logprob)
            score = np.full_like(self.logprob, -np.inf)
            np.subtract(self.logprob, self.unconditional, out=score, where=inside)
        elif normalise == "token":
            if self.tokens is None:
                raise MeasureError(
                    f"{self.path}: normalise 'token' needs the number of tokens of each option, which the imported log"
                    " does not hold; must be 'sum' or 'byte'."
                )
            score = self.logprob / self.tokens
        elif normalise == "byte":
            score = self.logprob / self.bytes
        elif normalise == "sum":
            score = self.logprob
        else:
            raise MeasureError(f"normalise is {normalise!r}, but must be 'sum', 'token', 'byte' or 'pmi'.")
        return score - log_sum_exp(score)[:, None]

    def candidate_mass(self) -> Array | None:
        """The probability Σ_k exp(log p) that the model's answer is any of the candidates, [N], in [0, 1].

        It is defined for letters only, because different letters exclude each other. Texts do not: one may be
        the beginning of another. The result is None for texts. It is also None if a sum is above 1, because
        two letters then have the same tokens.
        """
        if self.candidates != LETTERS:
            return None
        mass = np.exp(self.logprob).sum(1)
        return None if (mass > 1 + MASS_TOLERANCE).any() else np.minimum(mass, 1.0)

    def further(self) -> dict[str, Array]:
        """Values of each question, [N], that only some files have, by name: ``candidate_mass``, ``order_spread``."""
        values = {"candidate_mass": self.candidate_mass(), "order_spread": self.order_spread}
        return {name: one for name, one in values.items() if one is not None}


def log_sum_exp(score: Array) -> Array:
    """log Σ exp over the last axis. Each row needs at least one finite entry."""
    top = score.max(-1, keepdims=True)
    return (top + np.log(np.exp(score - top).sum(-1, keepdims=True)))[..., 0]


def cell_of(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The cell in a Score file's metadata. A cell without a base seed gets ``none``.

    Raises RecordError if the file is broken, and MeasureError if the cell or another key of it is missing.
    """
    cell = records.metadata(path).get("cell")
    if not isinstance(cell, Mapping):
        raise MeasureError(
            f"{path}: its metadata holds no cell; only files of `polycal score` can be measured."
        )
    cell = {"base_seed": NONE, **cell}
    missing = [name for name in CELL_KEYS if name not in cell]
    if missing:
        raise MeasureError(f"{path}: the cell in its metadata lacks {missing[0]!r}.")
    return cell


def read(path: str | os.PathLike[str], cell: Mapping[str, Any] | None = None) -> ScoredQuestions:
    """Read and check a Score file. ``cell`` replaces the cell in its metadata.

    Raises RecordError for a broken file or an empty value. Raises MeasureError for a failed result, for a
    file without questions, and for a question with a single option, a repeated id, or a candidate of no
    tokens or bytes.
    """
    cell = cell_of(path) if cell is None else cell
    if failure := failures.of(records.metadata(path)):
        raise MeasureError(f"{path}: holds no scores, because {failure.stage} failed: {failure.reason}")
    if not isinstance(cell, Mapping) or not isinstance(cell.get("settings") or {}, Mapping):
        raise MeasureError(f"{path}: the cell in its metadata is no mapping with settings.")
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
        repeated = next(name for name, count in Counter(ids).items() if count > 1)
        raise MeasureError(f"{path}: question_id {repeated!r} occurs twice; ids must be unique.")
    size = _padded(table["option_bytes"], options, 1.0)
    tokens, absent = None, table["option_tokens"].null_count
    if 0 < absent < table.num_rows:
        row = table["option_tokens"].is_null().to_pylist().index(True)
        raise MeasureError(f"{path}: row {row}: option_tokens is missing; all rows must have it, or none.")
    if not absent:
        tokens = _padded(table["option_tokens"], options, 1.0)
    for name, length in (("option_tokens", tokens), ("option_bytes", size)):
        if length is not None and (length < 1).any():
            raise MeasureError(
                f"{path}: row {int(np.argmax((length < 1).any(1)))}: {name} must be at least 1."
            )
    extra = records.UNCONDITIONAL
    return ScoredQuestions(
        path=str(path),
        cell={name: str(cell.get(name, NONE)) for name in CELL_KEYS},
        candidates=str((cell.get("settings") or {}).get("candidates", "letters")),
        question_id=ids,
        gold=table["gold"].to_numpy().astype(np.int64),
        options=options,
        logprob=_padded(table["option_logprob"], options, -np.inf),
        tokens=tokens,
        bytes=size,
        unconditional=_padded(table[extra], options, -np.inf) if extra in table.column_names else None,
        group=np.array(table["group"].to_pylist(), dtype=object),
        order_spread=order_spread.read(path),
        follow_ups=follow_ups.read(path, (cell.get("settings") or {}).get("follow_up")),
    )


def _padded(column: pa.ChunkedArray, options: NDArray[np.int64], fill: float) -> Array:
    """A column of lists as [N, K], with ``fill`` beyond the length of each row."""
    values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    inside = np.arange(options.max())[None, :] < options[:, None]
    matrix = np.full(inside.shape, fill)
    matrix[inside] = values
    return matrix
