"""Temperature scaling (Guo et al. 2017, section 4.2), alone and combined with label smoothing.

About a fifth of the question ids is used to fit temperatures. A temperature is fitted on English and applied
to all languages, on each language, or on each resource level. All checkpoints are treated in the same way,
whatever their β. The results show whether smoothing is better than one number fitted after training, and
whether both together are better still. Intervals come from the paired bootstrap samples. The temperature is
refitted in each of them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from polycal.analysis import bootstrap, quantities, trainings
from polycal.analysis.conditions import Condition, cell_key
from polycal.analysis.interpolated_bootstrap import interpolated_samples
from polycal.analysis.quantities import Quantity, covered
from polycal.analysis.question_outcomes import QuestionOutcomes
from polycal.analysis.question_split import LanguageSplit, QuestionSplit
from polycal.analysis.relative_cut import NO_REDUCTION, REDUCTION, REFUSED, relative_cut
from polycal.analysis.score_set import ScoreSet
from polycal.metrics import calibration, chebyshev, recalibration
from polycal.metrics.arrays import Array
from polycal.vocabulary import CELL_KEYS

METHODS = ("none", "english", "language", "resource")
"""What the temperature is fitted on: nothing (none), English, each language, or each resource level."""
NODES = 8
FEW_NODES = 4
NARROW = 0.15
"""Number of interpolation nodes over the refitted temperatures.

It is FEW_NODES if the largest temperature is at most e^(2 · NARROW) = e^0.3 times the smallest, otherwise
NODES.
"""
COLUMNS = (
    *CELL_KEYS,
    "method",
    "temperature",
    "temperature_low",
    "temperature_high",
    "n",
    "holes",
    *(name + end for name in bootstrap.METRICS for end in ("", "_low", "_high")),
    *REDUCTION,
    REFUSED,
    "interval_covers",
)


@dataclass(frozen=True)
class Recalibrated:
    """METRICS of one cell under one method, estimated [9] and in the bootstrap samples [R, 9].

    - ``temperatures`` [R] are those refitted in each sample, ``n`` is the number of evaluation questions.
    - ``holes`` is the number of missing languages of a mean. If it is above zero, all values are NaN.
    - ``floor`` [F] are simulated ECEs of a calibrated model; empty if the result is not a reference.
    - ``members`` are the results of the trainings of a mean over several.
    - ``covers`` are the sources of chance that the intervals include.
    """

    cell: dict[str, str]
    method: str
    temperature: float
    temperatures: Array
    n: int
    estimate: Array
    samples: Array
    holes: int = 0
    floor: Array = field(default_factory=lambda: np.zeros(0))
    members: Sequence["Recalibrated"] = ()
    covers: tuple[str, ...] = (quantities.QUESTIONS,)

    @property
    def quantity(self) -> Quantity:
        """The METRICS [9], with samples and trainings."""
        return quantities.quantity_of(self, lambda result: (result.estimate, result.samples))

    @property
    def temperature_quantity(self) -> Quantity:
        """The temperature, with samples and trainings."""
        return quantities.quantity_of(
            self, lambda result: (np.array(result.temperature), result.temperatures)
        )


def recalibrate(
    score_set: ScoreSet, languages: Sequence[LanguageSplit], missing: Collection[str] = ()
) -> list[Recalibrated]:
    """One condition under every method, in every language and for their mean.

    The method ``english`` is left out if English is not among the languages. If languages are ``missing``,
    the means are empty, and temperatures that would be fitted on a missing language are left out.
    """
    results: list[Recalibrated] = []
    lost = {score_set.settings["resource"].get(language) for language in missing}
    pools: dict[str, list[LanguageSplit]] = {}
    for language in languages:
        pools.setdefault(language.resource, []).append(language)
        if language.cell["language"] == "en":
            pools["english"] = [language]
    shared = {name: fit([language.fit for language in members]) for name, members in pools.items()}
    for language in languages:
        ones = np.ones(len(language.evaluation.weights))
        fits = {"none": (1.0, ones), "language": fit([language.fit])}
        if language.resource not in lost:
            fits["resource"] = shared[language.resource]
        if "english" in shared:
            fits["english"] = shared["english"]
        results.extend(
            _apply(score_set, language, method, *fits[method]) for method in METHODS if method in fits
        )
    if missing and languages:
        return [*results, *empty_means(languages[0].cell, missing, [language.cell for language in languages])]
    for method in METHODS:
        members = [result for result in results if result.method == method]
        if members:
            results.append(_mean(members))
    return results


def empty_means(
    condition: Mapping[str, str], missing: Collection[str], cells: Sequence[Mapping[str, str]] = ()
) -> list[Recalibrated]:
    """The means over languages of a condition with ``missing`` languages, all NaN.

    ``cells`` are its cells that exist.
    """
    english = "en" in {*missing, *(cell["language"] for cell in cells)}
    values = np.full(len(bootstrap.METRICS), np.nan)
    return [
        Recalibrated(
            cell={**condition, "language": "mean"},
            method=method,
            temperature=float("nan"),
            temperatures=values[:1],
            n=0,
            estimate=values,
            samples=values[None],
            holes=len(missing),
        )
        for method in METHODS
        if method != "english" or english
    ]


def fit(parts: Sequence[QuestionSplit]) -> tuple[float, Array]:
    """The temperature fitted on all these questions, and the one refitted in every bootstrap sample, [R]."""
    width = max(part.log_ratio.shape[1] for part in parts)
    log_ratio = np.concatenate(
        [
            np.pad(
                part.log_ratio,
                ((0, 0), (0, width - part.log_ratio.shape[1])),
                constant_values=recalibration.MIN_LOG_RATIO,
            )
            for part in parts
        ]
    )
    gold = np.concatenate([part.gold for part in parts])
    temperature = recalibration.fit_temperature(log_ratio, gold)
    table = recalibration.tabulate_slopes(log_ratio, gold, recalibration.slope_nodes(temperature))
    weights = np.concatenate([part.weights for part in parts], axis=1)
    return temperature, recalibration.refit_temperatures(weights @ table, temperature)


def _apply(
    score_set: ScoreSet, language: LanguageSplit, method: str, temperature: float, temperatures: Array
) -> Recalibrated:
    """The result of one language under one method."""
    bins, binning = score_set.settings["bins"], score_set.settings["binning"]
    questions = language.evaluation
    values = outcomes_at(questions, temperature)
    estimate = bootstrap.estimates(values, bins=bins, binning=binning)
    if (temperatures == temperature).all():
        samples = bootstrap.samples(values, questions.weights, bins=bins, binning=binning)
    else:
        samples = refitted_samples(questions, temperatures, bins=bins, binning=binning)
    result = Recalibrated(
        language.cell, method, temperature, temperatures, len(questions.gold), estimate, samples
    )
    return replace(result, floor=language.floor) if method == "none" else result


def refitted_samples(
    questions: QuestionSplit, temperatures: Array, *, bins: int, binning: calibration.Binning
) -> Array:
    """METRICS of every bootstrap sample at its own temperature, [R, 9].

    The outcome of a question is a smooth function of the log temperature. It is computed at a few
    temperatures in the range of ``temperatures`` [R] and interpolated (Chebyshev). This needs at most NODES
    softmaxes instead of R.
    """
    mix, at = interpolation(temperatures)
    nodes = [outcomes_at(questions, temperature) for temperature in at]
    return interpolated_samples(mix, nodes, questions.weights, bins=bins, binning=binning)


def interpolation(temperatures: Array) -> tuple[Array, list[float]]:
    """Weights [R, M] and M temperatures, between whose values those at ``temperatures`` [R] are interpolated."""
    log_t = np.log(temperatures)
    low, high = log_t.min(), log_t.max()
    middle, reach = (low + high) / 2, max((high - low) / 2, 1e-9)
    count = NODES if reach > NARROW else FEW_NODES
    mix = chebyshev.interpolation_weights((log_t - middle) / reach, count)
    return mix, [float(np.exp(middle + reach * node)) for node in chebyshev.nodes(count)]


def outcomes_at(questions: QuestionSplit, temperature: float) -> QuestionOutcomes:
    """Values per question when its log-probabilities are divided by ``temperature``."""
    row = np.arange(len(questions.gold))
    score = questions.log_ratio / temperature
    weight = np.exp(score)
    total = weight.sum(1)
    p, log_total = weight / total[:, None], np.log(total)
    entropy = log_total - np.einsum("nk,nk->n", p, score)
    return QuestionOutcomes(
        confidence=1 / total,  # the largest score is 0, so its weight is 1
        correct=questions.correct,
        entropy=entropy,
        entropy_normalised=entropy / np.log(questions.options),
        brier=np.einsum("nk,nk->n", p, p) - 2 * p[row, questions.gold] + 1,
        nll=log_total - score[row, questions.gold],
        ties=0,
    )


def _mean(members: Sequence[Recalibrated]) -> Recalibrated:
    """The mean of ``members`` over languages."""
    temperatures = np.array([result.temperature for result in members])
    return Recalibrated(
        cell={**members[0].cell, "language": "mean"},
        method=members[0].method,
        temperature=float(temperatures.mean()),
        temperatures=np.mean([result.temperatures for result in members], axis=0),
        n=sum(result.n for result in members),
        estimate=np.mean([result.estimate for result in members], axis=0),
        samples=np.mean([result.samples for result in members], axis=0),
        floor=np.mean([result.floor for result in members], axis=0),
    )


def pool(results: Sequence[Recalibrated]) -> list[Recalibrated]:
    """The means over several trainings under every method, in every language and for their mean.

    A mean is left out if one of its members is missing or empty.
    """
    return trainings.pool(
        results, lambda result: f"{result.method} {result.cell['language']}", _mean_over_trainings
    )


def _mean_over_trainings(
    members: list[Recalibrated], condition: Condition, covers: tuple[str, ...]
) -> Recalibrated:
    first = members[0]
    return replace(
        _mean(members),
        cell={**first.cell, **condition._asdict()},
        n=first.n,
        members=members,
        covers=covered(first.covers, covers),
    )


def recalibration_rows(results: Sequence[Recalibrated]) -> list[dict[str, Any]]:
    """One row per cell and method, and one per condition and method for the mean over languages.

    relative_ece_reduction is 1 − ece / (ece of the same condition with β = 0 and no temperature). The
    reference of a base model is the same base model without a temperature.
    """
    by_key = {(result.method, *cell_key(result.cell)): result for result in results}
    rows = []
    for result in by_key.values():
        reference = {**result.cell, **Condition.of(result.cell).unsmoothed()._asdict()}
        rows.append(_row(result, by_key.get(("none", *cell_key(reference)))))
    return rows


def _row(result: Recalibrated, reference: Recalibrated | None) -> dict[str, Any]:
    low, high = result.temperature_quantity.interval()
    cut = NO_REDUCTION
    if reference is not None:
        cut = relative_cut(result.quantity, reference.quantity, reference.floor)
    return {
        **result.cell,
        "method": result.method,
        "temperature": result.temperature,
        "temperature_low": float(low),
        "temperature_high": float(high),
        "n": result.n,
        "holes": result.holes,
        **quantities.with_intervals(bootstrap.METRICS, result.quantity),
        **cut,
        "interval_covers": "" if result.holes else ", ".join(result.covers),
    }
