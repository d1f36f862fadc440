"""Measures of confidence side by side: probability of the chosen option, what the model says of it, agreement.

Each is a confidence in the same answers to the same questions.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from polycal.analysis import correctness_metrics, quantities, ranking_samples, trainings
from polycal.analysis.conditions import Condition
from polycal.analysis.language_agreement import Agreement, Answers, agreement
from polycal.analysis.quantities import Quantity, covered
from polycal.analysis.resampling import COSTLY_SAMPLES
from polycal.analysis.score_set import ScoreSet
from polycal.analysis.trainings import Found
from polycal.metrics.arrays import Array
from polycal.vocabulary import CELL_KEYS, RESOURCE_LEVELS

LIKELIHOOD, AGREEMENT = "likelihood", "agreement"
P_TRUE = "p_true"
"""P(True) of the chosen option."""
STATED, STATED_MODE = "stated", "stated_mode"
"""The expected level, and the most likely level, that the model states."""
MEASURES = (LIKELIHOOD, P_TRUE, STATED, STATED_MODE, AGREEMENT)
SAID = ("ceiling_rate", "level_mass")
"""Metrics of levels only: how often the most likely one is the highest, and the probability of all of them."""
BINNED = (*correctness_metrics.METRICS, *SAID)
"""Metrics from all bootstrap samples."""
RANKED = ("auroc", "auarc", "spearman")
"""Metrics from COSTLY_SAMPLES bootstrap samples. ``spearman`` is the rank correlation with the likelihood."""
LEVELS = (STATED, STATED_MODE)
ALL = "all"
COLUMNS = (
    *CELL_KEYS,
    "resource",
    "measure",
    "n",
    "left_out",
    "others",
    "holes",
    *(name + end for name in (*BINNED, *RANKED) for end in ("", "_low", "_high")),
    "interval_covers",
)


@dataclass(frozen=True)
class MeasuredConfidence:
    """One measure of confidence in one cell, or in the mean over languages.

    - ``binned`` [7] and ``ranked`` [3] are the metrics BINNED and RANKED, with samples [R, 7] and [S, 3].
    - ``n`` is the number of questions, ``left_out`` that of the questions without an agreement, ``others``
      the mean number of other languages.
    - ``holes`` is the number of missing languages of a mean. If it is above zero, all values are NaN.
    - ``members`` are the results of the trainings of a mean over several.
    - ``covers`` are the sources of chance that the intervals include.
    """

    cell: dict[str, str]
    resource: str
    measure: str
    n: int
    left_out: int
    others: float
    binned: Array
    binned_samples: Array
    ranked: Array
    ranked_samples: Array
    holes: int = 0
    members: Sequence["MeasuredConfidence"] = field(default=())
    covers: tuple[str, ...] = (quantities.QUESTIONS,)

    @property
    def binned_quantity(self) -> Quantity:
        """The metrics BINNED [7], with samples and trainings."""
        return quantities.quantity_of(self, lambda result: (result.binned, result.binned_samples))

    @property
    def ranked_quantity(self) -> Quantity:
        """The metrics RANKED [3], with samples and trainings."""
        return quantities.quantity_of(self, lambda result: (result.ranked, result.ranked_samples))


def measured_confidences(
    score_set: ScoreSet, languages: Sequence[Answers], missing: Collection[str] = ()
) -> list[MeasuredConfidence]:
    """Every measure of one condition in every language, and its means over all languages and each resource level.

    There is none for a single language. If languages are ``missing``, the agreement of the others would be
    among fewer, so there are only empty means.
    """
    if missing:
        return empty_means(languages[0].cell, missing, _measures(languages[0]))
    if len(languages) < 2:
        return []
    results = [
        result
        for one, found in zip(languages, agreement(languages), strict=True)
        for result in _measure(score_set, one, found)
    ]
    means = []
    for measure in MEASURES:
        of_measure = [result for result in results if result.measure == measure]
        for level in (ALL, *RESOURCE_LEVELS):
            members = [result for result in of_measure if level in (ALL, result.resource)]
            if members:
                means.append(_mean(members, {**members[0].cell, "language": "mean"}, level))
    return [*results, *means]


def _measures(one: Answers) -> list[str]:
    """The measures that there are of these answers."""
    return [measure for measure in MEASURES if measure in (LIKELIHOOD, AGREEMENT, *one.said)]


def empty_means(
    condition: Mapping[str, str], missing: Collection[str], measures: Sequence[str] = (LIKELIHOOD, AGREEMENT)
) -> list[MeasuredConfidence]:
    """The means over all languages of a condition with ``missing`` languages, all NaN."""
    cell = {**condition, "language": "mean"}
    return [_empty(cell, ALL, measure, 0, len(missing)) for measure in measures]


def _empty(
    cell: dict[str, str], resource: str, measure: str, left_out: int, holes: int
) -> MeasuredConfidence:
    binned, ranked = np.full(len(BINNED), np.nan), np.full(len(RANKED), np.nan)
    return MeasuredConfidence(
        cell, resource, measure, 0, left_out, float("nan"), binned, binned[None], ranked, ranked[None], holes
    )


def _measure(score_set: ScoreSet, one: Answers, found: Agreement) -> list[MeasuredConfidence]:
    """Every measure of one language, on the questions that have an agreement."""
    cell, resource = dict(one.cell), score_set.resource(one.cell)
    if not found.used.any():
        return [_empty(cell, resource, measure, found.left_out, 0) for measure in _measures(one)]
    resamples = score_set.resamples[cell["benchmark"]]
    weights = resamples.take(resamples.weights, resamples.columns(one.question_id))[:, found.used]
    likelihood, correct = one.confidence[found.used], one.correct[found.used]
    said = {measure: values[found.used] for measure, values in one.said.items()}
    confidences = {LIKELIHOOD: likelihood, AGREEMENT: found.share, **said}
    levels = [None if values is None else values[found.used] for values in (one.ceiling, one.mass)]
    return [
        MeasuredConfidence(
            cell, resource, measure, len(correct), found.left_out, found.others,
            *_binned(score_set, confidences[measure], correct, weights, levels if measure in LEVELS else []),
            *_ranked(confidences[measure], correct, likelihood, weights[:COSTLY_SAMPLES], measure),
        )
        for measure in _measures(one)
    ]  # fmt: skip


def _binned(
    score_set: ScoreSet,
    confidence: Array,
    correct: Array,
    weights: Array,
    levels: Sequence[Array | None],
) -> tuple[Array, Array]:
    """The metrics BINNED [7] and those of the samples ``weights`` [R, n], [R, 7].

    ``levels`` are the values of SAID, each [n], or empty for a measure without levels.
    """
    estimates, samples = correctness_metrics.measured(confidence, correct, weights, score_set.settings)
    means, mean_samples = np.full(len(SAID), np.nan), np.full((len(weights), len(SAID)), np.nan)
    for column, one in enumerate(levels):
        if one is not None:
            means[column], mean_samples[:, column] = one.mean(), weights @ one / weights.sum(1)
    return np.concatenate([estimates, means]), np.column_stack([samples, mean_samples])


def _ranked(
    confidence: Array, correct: Array, likelihood: Array, weights: Array, measure: str
) -> tuple[Array, Array]:
    """The metrics RANKED [3] and those of the samples ``weights`` [S, n], [S, 3]."""

    def metrics(weights: Array) -> Array:
        auroc, auarc = (
            samples(confidence, correct, weights)
            for samples in (ranking_samples.auroc_samples, ranking_samples.auarc_samples)
        )
        # The correlation of the likelihood with itself says nothing.
        spearman = np.full(len(weights), np.nan)
        if measure != LIKELIHOOD:
            spearman = ranking_samples.spearman_samples(confidence, likelihood, weights)
        return np.column_stack([auroc, auarc, spearman])

    return metrics(np.ones((1, len(correct))))[0], metrics(weights)


def _mean(members: Sequence[MeasuredConfidence], cell: dict[str, str], resource: str) -> MeasuredConfidence:
    """The unweighted mean of ``members``."""
    return MeasuredConfidence(
        cell=cell,
        resource=resource,
        measure=members[0].measure,
        n=sum(result.n for result in members),
        left_out=sum(result.left_out for result in members),
        others=float(np.mean([result.others for result in members])),
        binned=np.mean([result.binned for result in members], axis=0),
        binned_samples=_mean_samples([result.binned_samples for result in members]),
        ranked=np.mean([result.ranked for result in members], axis=0),
        ranked_samples=_mean_samples([result.ranked_samples for result in members]),
    )


def _mean_samples(samples: Sequence[Array]) -> Array:
    """The mean of samples [R, M] of several cells. It is NaN if one of them has no questions."""
    return np.mean(np.broadcast_arrays(*samples), axis=0)


def pool(results: Sequence[MeasuredConfidence]) -> list[MeasuredConfidence]:
    """The means over several trainings, for every measure, language and resource level.

    A mean is left out if one of its members is missing or empty.
    """
    found = [
        Found(Condition.of(result.cell), _place(result), result) for result in results if not result.holes
    ]
    for lost in sorted({Condition.of(result.cell) for result in results if result.holes}):
        places = {one.place for one in found if _family(one.condition) == _family(lost)}
        found += [Found(lost, place, None) for place in sorted(places)]
    means = trainings.over_trainings(found, _mean_over_trainings)
    return [mean.result for mean in means if mean.result is not None]


def _place(result: MeasuredConfidence) -> str:
    return f"{result.measure} {result.resource} {result.cell['language']}"


def _family(condition: Condition) -> Condition:
    """What the trainings of a mean share, whatever their β."""
    return condition._replace(base_seed="", seed="", beta="")


def _mean_over_trainings(
    members: list[MeasuredConfidence], condition: Condition, covers: tuple[str, ...]
) -> MeasuredConfidence:
    first = members[0]
    cell = {**first.cell, **condition._asdict()}
    mean = _mean(members, cell, first.resource)
    covers = covered(first.covers, covers)
    return replace(mean, n=first.n, left_out=first.left_out, members=members, covers=covers)


def confidence_rows(results: Sequence[MeasuredConfidence]) -> list[dict[str, Any]]:
    """One row of COLUMNS for each result."""
    return [
        {
            **result.cell,
            "resource": result.resource,
            "measure": result.measure,
            "n": result.n,
            "left_out": result.left_out,
            "others": result.others,
            "holes": result.holes,
            **quantities.with_intervals(BINNED, result.binned_quantity),
            **quantities.with_intervals(RANKED, result.ranked_quantity),
            "interval_covers": "" if result.holes else ", ".join(result.covers),
        }
        for result in results
    ]
