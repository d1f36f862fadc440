"""Metrics of one cell: with intervals, without intervals, under other conventions, per reliability bin."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from polycal.analysis import bootstrap, noise_floor, quantities
from polycal.analysis.conditions import Condition
from polycal.analysis.intervals import wilson, with_intervals
from polycal.analysis.quantities import Quantity
from polycal.analysis.question_outcomes import QuestionOutcomes, outcomes
from polycal.analysis.resampling import COSTLY_SAMPLES
from polycal.analysis.score_arrays import ScoredQuestions
from polycal.analysis.score_set import ScoreSet
from polycal.metrics import calibration, diagnostics, recalibration, selective_prediction, smooth_calibration
from polycal.metrics.arrays import Array

FURTHER = ("candidate_mass", "order_spread")
"""Means over questions that only some cells have. In other cells they are empty."""


class Convention(NamedTuple):
    """A way to compute a metric. Without bins, ``binning`` is ``none`` and ``bins`` is 0."""

    normalise: str
    metric: str
    binning: str
    bins: int


@dataclass(frozen=True)
class MeasuredCell:
    """One cell: bootstrap.METRICS estimated [9] and in R bootstrap samples [R, 9], with its table rows.

    - ``smooth`` is the smooth ECE. ``smooth_samples`` are fewer than R, because each needs a search.
    - ``further`` are those of the means FURTHER that are defined, each with its samples [R].
    - ``row`` is its row of the table cells, ``diagnostics`` that of the table diagnostics.
    - ``under_conventions`` are the estimates under other conventions, with which the claims are checked.
    - ``floor`` [F] are simulated ECEs of a perfectly calibrated model with the same confidences.
    - ``ece_bias`` is the part of the ECE that chance in the labels adds.
    - ``members`` are the cells of the trainings, if the cell is a mean over several. All other values are
      then means.
    - ``covers`` are the sources of chance that the intervals include (``quantities.LEVELS``).
    """

    cell: dict[str, str]
    resource: str
    candidates: str
    estimate: Array
    samples: Array
    smooth: float
    smooth_samples: Array
    further: Mapping[str, tuple[float, Array]] = field(default_factory=dict)
    row: dict[str, Any] = field(default_factory=dict)
    diagnostics: dict[str, Any] = field(default_factory=dict)
    reliability: list[dict[str, Any]] = field(default_factory=list)
    under_conventions: dict[Convention, float] = field(default_factory=dict)
    floor: Array = field(default_factory=lambda: np.zeros(0))
    ece_bias: float = float("nan")
    members: Sequence["MeasuredCell"] = ()
    covers: tuple[str, ...] = (quantities.QUESTIONS,)

    @property
    def condition(self) -> Condition:
        """The condition of the cell: its keys without the language."""
        return Condition.of(self.cell)

    @property
    def clusters(self) -> tuple[str, ...]:
        """``quantities.trainings_of`` the cell."""
        return quantities.trainings_of(self)

    @property
    def quantity(self) -> Quantity:
        """The METRICS [9] of the cell, with samples and trainings."""
        return quantities.quantity_of(self, lambda cell: (cell.estimate, cell.samples))

    @property
    def smooth_quantity(self) -> Quantity:
        """The smooth ECE of the cell, [1], with samples and trainings."""
        return quantities.quantity_of(
            self, lambda cell: (np.array([cell.smooth]), cell.smooth_samples[:, None])
        )

    def further_quantity(self, name: str) -> Quantity | None:
        """One of the means FURTHER, [1], with samples and trainings; None if it is not defined."""
        if name not in self.further:
            return None

        def values(cell: "MeasuredCell") -> tuple[Array, Array]:
            mean, samples = cell.further[name]
            return np.array([mean]), samples[:, None]

        return quantities.quantity_of(self, values)


def measure_cell(score_set: ScoreSet, questions: ScoredQuestions, log_p: Array) -> MeasuredCell:
    """Estimates, bootstrap samples and table rows of one Score file.

    ``log_p`` [N, K] are its log-probabilities from ``score_set.log_probabilities``.
    """
    bins, binning = score_set.settings["bins"], score_set.settings["binning"]
    resamples = score_set.resamples[questions.cell["benchmark"]]
    columns = resamples.columns(questions.question_id)
    weights = resamples.take(resamples.weights, columns)
    values = outcomes(log_p, questions.gold, questions.options)
    estimate = bootstrap.estimates(values, bins=bins, binning=binning)
    samples = bootstrap.samples(values, weights, bins=bins, binning=binning)
    smooth = smooth_calibration.smooth_ece(values.confidence, values.correct)
    smooth_samples = bootstrap.smooth_ece_samples(values, weights[:COSTLY_SAMPLES])
    floor = noise_floor.noise_floor_samples(
        values.confidence, resamples.take(resamples.uniform, columns), bins=bins, binning=binning
    )
    floor_mean, floor_high = noise_floor.summary(floor)
    ece = float(estimate[bootstrap.ECE])
    bias = ece - diagnostics.debiased_ece(values.confidence, values.correct, bins=bins, binning=binning)
    intervals = with_intervals(bootstrap.METRICS, estimate, samples)
    further = further_means(questions, weights)
    chance = float((1 / questions.options).mean())
    resource = score_set.resource(questions.cell)
    row = {
        **questions.cell,
        "resource": resource,
        "n": len(questions.gold),
        "chance": chance,
        # Where a model only guesses, its calibration cannot be judged.
        "above_chance": intervals["accuracy_low"] > chance,
        **intervals,
        **with_intervals(("smooth_ece",), np.array([smooth]), smooth_samples[:, None]),
        **further_columns(
            {
                name: with_intervals((name,), np.array([mean]), samples[:, None])
                for name, (mean, samples) in further.items()
            }
        ),
        "ece_floor": floor_mean,
        "ece_floor_high": floor_high,
        "equal_candidates": values.ties,
        "ece_bias": bias,
        "interval_covers": quantities.QUESTIONS,
    }
    return MeasuredCell(
        cell=questions.cell,
        resource=resource,
        candidates=questions.candidates,
        estimate=estimate,
        samples=samples,
        smooth=smooth,
        smooth_samples=smooth_samples,
        further=further,
        row=row,
        diagnostics={**questions.cell, **secondary_metrics(np.exp(log_p), questions, values, bins)},
        reliability=reliability_rows(questions.cell, values, bins, binning),
        under_conventions=metrics_under_conventions(questions, score_set.settings["sensitivity"]),
        floor=floor,
        ece_bias=bias,
    )


def further_means(questions: ScoredQuestions, weights: Array) -> dict[str, tuple[float, Array]]:
    """Those of the means FURTHER that a file has, each with that of the R samples ``weights`` [R, N], [R]."""
    with np.errstate(invalid="ignore"):
        return {
            name: (float(one.mean()), weights @ one / weights.sum(1))
            for name, one in questions.further().items()
        }


def further_columns(defined: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The columns of all means FURTHER, each with its bounds; NaN for those that are not ``defined``."""
    columns: dict[str, float] = {}
    for name in FURTHER:
        columns |= {f"{name}{end}": float("nan") for end in ("", "_low", "_high")} | dict(
            defined.get(name, {})
        )
    return columns


def secondary_metrics(
    p: Array, questions: ScoredQuestions, values: QuestionOutcomes, bins: int
) -> dict[str, float]:
    """The metrics without intervals, from probabilities ``p`` [N, K] and the outcomes of the questions."""
    pair = values.confidence, values.correct
    parts = diagnostics.brier_decomposition(*pair, bins=bins)
    return {
        "ece_mass": calibration.ece(*pair, bins=bins, binning="mass"),
        "maximum_calibration_error": diagnostics.maximum_calibration_error(*pair, bins=bins),
        "debiased_ece": diagnostics.debiased_ece(*pair, bins=bins),
        "debiased_rms": diagnostics.debiased_rms(*pair, bins=bins),
        "adaptive_rms": diagnostics.adaptive_calibration_error(*pair),
        "classwise_ece": diagnostics.classwise_ece(p, questions.gold, options=questions.options, bins=bins),
        "platt_ece": recalibration.platt_ece(*pair),
        "brier_reliability": parts.reliability,
        "brier_resolution": parts.resolution,
        "brier_uncertainty": parts.uncertainty,
        "auroc": selective_prediction.auroc(*pair),
        "accuracy_coverage_area": selective_prediction.accuracy_coverage_area(*pair),
        "selective_accuracy": selective_prediction.selective_accuracy(*pair),
    }


def reliability_rows(
    cell: Mapping[str, str], values: QuestionOutcomes, bins: int, binning: calibration.Binning
) -> list[dict[str, Any]]:
    """One row per non-empty bin of the reliability diagram; the accuracy has its 95% Wilson interval."""
    diagram = calibration.reliability(values.confidence, values.correct, bins=bins, binning=binning)
    index = np.unique(calibration.bin_index(values.confidence, bins, binning))
    low, high = wilson(diagram.accuracy, diagram.count)
    columns = {
        "bin": index.tolist(),
        "low": diagram.low.tolist(),
        "high": diagram.high.tolist(),
        "n": diagram.count.tolist(),
        "confidence": diagram.confidence.tolist(),
        "accuracy": diagram.accuracy.tolist(),
        "accuracy_low": low.tolist(),
        "accuracy_high": high.tolist(),
    }
    return [{**cell, **dict(zip(columns, row, strict=True))} for row in zip(*columns.values(), strict=True)]


def metrics_under_conventions(
    questions: ScoredQuestions, choices: Mapping[str, Any]
) -> dict[Convention, float]:
    """Accuracy, gap and ECE under every normalisation and binning of ``choices``, without intervals.

    ``choices`` has the lists ``normalise``, ``binning`` and ``bins``. ``token`` is left out if the file has
    no numbers of tokens. ``pmi`` is added if the file has unconditional log-probabilities.
    """
    values: dict[Convention, float] = {}
    for normalise in questions.normalisations(choices["normalise"]):
        log_p = questions.log_probabilities(normalise)
        confidence, correct = np.exp(log_p.max(1)), (log_p.argmax(1) == questions.gold).astype(np.float64)
        values[Convention(normalise, "accuracy", "none", 0)] = float(correct.mean())
        values[Convention(normalise, "gap", "none", 0)] = float(confidence.mean() - correct.mean())
        for binning in choices["binning"]:
            for bins in choices["bins"]:
                ece = calibration.ece(confidence, correct, bins=bins, binning=binning)
                values[Convention(normalise, "ece", binning, bins)] = ece
    return values
