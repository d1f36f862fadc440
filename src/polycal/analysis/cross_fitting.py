"""Cross-fitting: every question is evaluated with what was chosen on the questions of the other folds.

Questions are divided into folds by their ids, so a fold contains the same questions in every language, model
and bootstrap sample. The outcomes of all folds are then measured together. They are as many as all questions,
so the ECE has the bias of any ECE at this number of questions. Source: Stone 1974, "Cross-validatory choice
and assessment of statistical predictions", JRSS B 36(2).
"""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from polycal.analysis.bootstrap import mass_bin_sums
from polycal.analysis.interpolated_bootstrap import BLOCK_SIZE, mass_bin_sums_of_each, width_bin_sums
from polycal.analysis.resampling import COSTLY_SAMPLES, Resamples
from polycal.analysis.score_arrays import ScoredQuestions
from polycal.analysis.temperature_scaling import interpolation
from polycal.metrics import calibration, recalibration
from polycal.metrics.arrays import Array, Integers

FOLDS = 5
"""Number of folds."""
METRICS = ("accuracy", "confidence", "gap", "ece")
"""The order of the last axis of evaluated metrics."""
ECE = METRICS.index("ece")
Index = NDArray[np.int64]


@functools.cache
def fold_of(question_id: str) -> int:
    """The fold of a question, 0 … FOLDS − 1, decided by a hash of its id."""
    digest = hashlib.sha256(f"fold {question_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % FOLDS


@dataclass(frozen=True)
class FoldedCell:
    """The questions of one cell, sorted by fold and then in the order of the benchmark's resamples.

    - ``columns`` [N] are their columns in the resamples, ``starts`` [FOLDS + 1] the first place of each fold.
    - ``log_ratio`` [N, K] is log(p / largest p), ``gold`` [N] the right option.
    - ``correct`` [N] is 1 for a right answer, else 0.
    """

    columns: Index
    starts: Index
    log_ratio: Array
    gold: Integers
    correct: Array

    def confidence_at(self, temperature: float) -> Array:
        """The probability of each chosen option when log-probabilities are divided by ``temperature``, [N]."""
        return 1 / np.exp(self.log_ratio / temperature).sum(1)

    @property
    def folds(self) -> list[slice]:
        """The places of the questions of each fold."""
        return [
            slice(*ends) for ends in zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True)
        ]


def fold(resamples: Resamples, questions: ScoredQuestions, log_p: Array) -> FoldedCell | None:
    """One Score file with log-probabilities ``log_p`` [N, K]; None if all its questions are in one fold."""
    numbers = np.fromiter(map(fold_of, questions.question_id), np.int64, len(questions.gold))
    columns = resamples.columns(questions.question_id)
    order = np.lexsort((columns, numbers))
    sizes = np.bincount(numbers, minlength=FOLDS)
    if sizes.max() == len(order):
        return None
    log_ratio = recalibration.log_ratios(log_p)[order]
    return FoldedCell(
        columns[order],
        np.concatenate([[0], np.cumsum(sizes)]),
        log_ratio,
        questions.gold[order],
        (log_p.argmax(1) == questions.gold).astype(np.float64)[order],
    )


def counts(resamples: Resamples, cell: FoldedCell) -> Array:
    """How often each bootstrap sample contains each question of ``cell``, [1 + R, N].

    Row 0 is the questions themselves, so the values of row 0 are estimates.
    """
    drawn = resamples.weights[:COSTLY_SAMPLES, cell.columns]
    return np.concatenate([np.ones((1, len(cell.columns))), drawn])


class FoldSums(NamedTuple):
    """Sums over the questions of each fold in S samples.

    ``size`` and ``right`` [S, FOLDS] are the numbers of questions and of right answers. ``error``
    [S, FOLDS, B] is the summed correct − confidence of each equal-width bin. Equal-mass bins are cut over all
    folds together, so they have no such sums, and ``error`` is None.
    """

    size: Array
    right: Array
    error: Array | None


def fold_sums(cell: FoldedCell, weights: Array, *, bins: int, binning: calibration.Binning) -> FoldSums:
    """The sums of ``cell`` for ``weights`` [S, N]."""
    places = cell.folds
    size = np.column_stack([weights[:, part].sum(1) for part in places])
    right = np.column_stack([weights[:, part] @ cell.correct[part] for part in places])
    if binning != "width":
        return FoldSums(size, right, None)
    confidence = cell.confidence_at(1.0)
    slot = calibration.bin_index(confidence, bins, binning)
    for number, part in enumerate(places):
        slot[part] += number * bins
    difference = cell.correct - confidence
    error = [np.bincount(slot, row * difference, FOLDS * bins).reshape(FOLDS, bins) for row in weights]
    return FoldSums(size, right, np.stack(error))


def without_each_fold(cell: FoldedCell, sums: FoldSums, weights: Array, *, bins: int) -> tuple[Array, Array]:
    """ECE and accuracy on the questions outside each fold and, last, on all questions.

    Both are [S, FOLDS + 1] for ``weights`` [S, N], and NaN where a sample has no such question.
    """
    if sums.error is not None:
        total = np.abs(_outside(sums.error)).sum(2)
    else:
        confidence, outside = cell.confidence_at(1.0), []
        for part in [*cell.folds, slice(0, 0)]:
            others = weights.copy()
            others[:, part] = 0.0
            error = mass_bin_sums(confidence, cell.correct - confidence, others, bins)[1]
            outside.append(np.abs(error).sum(1))
        total = np.column_stack(outside)
    n = _outside(sums.size)
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / n, _outside(sums.right) / n


def _outside(sums: Array) -> Array:
    """Sums outside each fold and, last, of all folds, [S, FOLDS + 1, ...], from those of each [S, FOLDS, ...]."""
    whole = sums.sum(1, keepdims=True)
    return np.concatenate([whole - sums, whole], axis=1)


def refitted(cells: Sequence[FoldedCell], weights: Sequence[Array]) -> Array:
    """The temperature fitted on the questions of ``cells`` outside each fold, in every sample: [S, FOLDS].

    ``weights`` are the [S, N] of each cell.
    """
    width = max(cell.log_ratio.shape[1] for cell in cells)
    padded = [
        np.pad(
            cell.log_ratio,
            ((0, 0), (0, width - cell.log_ratio.shape[1])),
            constant_values=recalibration.MIN_LOG_RATIO,
        )
        for cell in cells
    ]
    first = recalibration.fit_temperature(
        np.concatenate(padded), np.concatenate([cell.gold for cell in cells])
    )
    nodes = recalibration.slope_nodes(first)
    sums = np.zeros((len(weights[0]), FOLDS, len(nodes)))
    for cell, drawn in zip(cells, weights, strict=True):
        slopes = recalibration.tabulate_slopes(cell.log_ratio, cell.gold, nodes)
        sums += np.stack([drawn[:, part] @ slopes[part] for part in cell.folds], axis=1)
    outside = _outside(sums)
    return np.column_stack(
        [recalibration.refit_temperatures(outside[:, number], first) for number in range(FOLDS)]
    )


def evaluated(
    cells: Sequence[FoldedCell],
    sums: Sequence[FoldSums],
    weights: Array,
    chosen: Index,
    temperatures: Mapping[int, Array],
    *,
    bins: int,
    binning: calibration.Binning,
) -> Array:
    """METRICS [S, 4] in which each fold has its own choice in every sample; NaN for a sample without questions.

    ``cells`` and ``sums`` are one per β, on the same questions. ``chosen`` [S, FOLDS] are indices of them.
    ``temperatures`` are those of each chosen β, [S, FOLDS]; without any, all are 1.
    """

    def of_chosen(values: Sequence[Array]) -> Array:
        index = chosen.reshape(1, *chosen.shape, *[1] * (values[0].ndim - 2))
        return np.take_along_axis(np.stack(values), index, 0)[0]

    by_bin = [one.error for one in sums if one.error is not None]
    if by_bin and not temperatures:
        error = of_chosen(by_bin).sum(1)
    else:
        error = _error_sums(cells, weights, chosen, temperatures, bins, binning)
    n = sums[0].size.sum(1)
    with np.errstate(invalid="ignore"):
        accuracy, gap, ece = (
            of_chosen([one.right for one in sums]).sum(1) / n,
            -error.sum(1) / n,
            np.abs(error).sum(1) / n,
        )
    return np.column_stack([accuracy, accuracy + gap, gap, ece])


def _error_sums(
    cells: Sequence[FoldedCell],
    weights: Array,
    chosen: Index,
    temperatures: Mapping[int, Array],
    bins: int,
    binning: calibration.Binning,
) -> Array:
    """The summed correct − confidence of every bin of ``evaluated``, [S, B]."""
    mixes, nodes = {}, {}
    for index in np.unique(chosen).tolist():
        mix, at = np.ones((chosen.size, 1)), [1.0]
        if temperatures:
            mix, at = interpolation(temperatures[index].ravel())
        mixes[index] = mix.reshape(*chosen.shape, -1)
        nodes[index] = np.stack([cells[index].confidence_at(temperature) for temperature in at])
    bin_sums = width_bin_sums if binning == "width" else mass_bin_sums_of_each
    places, errors = cells[0].folds, []
    step = max(1, BLOCK_SIZE // weights.shape[1])
    for start in range(0, len(weights), step):
        block = slice(start, start + step)
        confidence, correct = np.empty_like(weights[block]), np.empty_like(weights[block])
        for number, part in enumerate(places):
            own = chosen[block, number]
            for index in set(own.tolist()):
                rows = np.flatnonzero(own == index)
                confidence[rows, part] = mixes[index][start + rows, number] @ nodes[index][:, part]
                correct[rows, part] = cells[index].correct[part]
        np.clip(confidence, 0.0, 1.0, out=confidence)
        errors.append(bin_sums(confidence, correct - confidence, weights[block], bins)[1])
    return np.concatenate(errors)
