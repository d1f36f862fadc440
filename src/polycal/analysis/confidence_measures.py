"""Measures of confidence side by side: probability of the chosen option, what the model says of it, agreement.

Each is a confidence in the same answers to the same questions.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from polycal.analysis import correctness_metrics, measured_confidence, quantities, ranking_samples
from polycal.analysis.language_agreement import Agreement, Answers, agreement
from polycal.analysis.measured_confidence import ALL, MEAN, Counts, MeasuredConfidence
from polycal.analysis.resampling import COSTLY_SAMPLES
from polycal.analysis.score_set import ScoreSet
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
RANKED = ranking_samples.METRICS
"""Metrics from COSTLY_SAMPLES bootstrap samples. ``spearman`` is the rank correlation with the likelihood."""
LEVELS = (STATED, STATED_MODE)
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
                cell = {**members[0].cell, "language": MEAN}
                means.append(measured_confidence.mean(members, cell, level, _over_languages(members)))
    return [*results, *means]


def _measures(one: Answers) -> list[str]:
    """The measures that there are of these answers."""
    return [measure for measure in MEASURES if measure in (LIKELIHOOD, AGREEMENT, *one.said)]


def empty_means(
    condition: Mapping[str, str], missing: Collection[str], measures: Sequence[str] = (LIKELIHOOD, AGREEMENT)
) -> list[MeasuredConfidence]:
    """The means over all languages of a condition with ``missing`` languages, all NaN."""
    cell = {**condition, "language": MEAN}
    return [_empty(cell, ALL, measure, 0, len(missing)) for measure in measures]


def _empty(
    cell: dict[str, str], resource: str, measure: str, left_out: int, holes: int
) -> MeasuredConfidence:
    counts = {"n": 0, "left_out": left_out, "others": float("nan")}
    return measured_confidence.empty(cell, resource, measure, counts, (len(BINNED), len(RANKED)), holes)


def _measure(score_set: ScoreSet, one: Answers, found: Agreement) -> list[MeasuredConfidence]:
    """Every measure of one language, on the questions that have an agreement."""
    cell, resource = dict(one.cell), score_set.resource(one.cell)
    if not found.used.any():
        return [_empty(cell, resource, measure, found.left_out, 0) for measure in _measures(one)]
    resamples = score_set.resamples[cell["benchmark"]]
    weights = resamples.take(resamples.weights, resamples.columns(one.question_id[found.used]))
    likelihood, correct = one.confidence[found.used], one.correct[found.used]
    said = {measure: values[found.used] for measure, values in one.said.items()}
    confidences = {LIKELIHOOD: likelihood, AGREEMENT: found.share, **said}
    levels = [None if values is None else values[found.used] for values in (one.ceiling, one.mass)]
    counts = {"n": len(correct), "left_out": found.left_out, "others": found.others}
    return [
        MeasuredConfidence(
            cell, resource, measure, counts,
            *_binned(score_set, confidences[measure], correct, weights, levels if measure in LEVELS else []),
            *ranking_samples.measured(
                confidences[measure], correct, None if measure == LIKELIHOOD else likelihood, weights[:COSTLY_SAMPLES]
            ),
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


def _over_languages(members: Sequence[MeasuredConfidence]) -> Counts:
    """The counts of a mean over languages."""
    return {
        "n": sum(result.counts["n"] for result in members),
        "left_out": sum(result.counts["left_out"] for result in members),
        "others": _mean_others(members),
    }


def _over_trainings(members: Sequence[MeasuredConfidence]) -> Counts:
    """The counts of a mean over trainings, which answer the same questions."""
    return {**members[0].counts, "others": _mean_others(members)}


def _mean_others(members: Sequence[MeasuredConfidence]) -> float:
    return float(np.mean([result.counts["others"] for result in members]))


def pool(results: Sequence[MeasuredConfidence]) -> list[MeasuredConfidence]:
    """The means over several trainings, for every measure, language and resource level.

    A mean is left out if one of its members is missing or empty.
    """
    return measured_confidence.pool(results, _over_trainings)


def confidence_rows(results: Sequence[MeasuredConfidence]) -> list[dict[str, Any]]:
    """One row of COLUMNS for each result."""
    return [
        {
            **result.cell,
            "resource": result.resource,
            "measure": result.measure,
            **result.counts,
            "holes": result.holes,
            **quantities.with_intervals(BINNED, result.binned_quantity),
            **quantities.with_intervals(RANKED, result.ranked_quantity),
            "interval_covers": "" if result.holes else ", ".join(result.covers),
        }
        for result in results
    ]
