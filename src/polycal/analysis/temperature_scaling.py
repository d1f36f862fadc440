"""Rival cures: temperatures fitted afterwards, beside label smoothing and on top of it.

A fifth of the question ids is held out of the evaluation in every language; the temperature is fitted on
these: in English alone and used everywhere, in each language, or one for each resource level. Every
checkpoint is treated so, whatever its β, so that a reader sees whether smoothing beats a single number
fitted afterwards and whether both add up. Intervals come from the paired draws with the temperature fitted
anew in each.
"""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polycal.analysis import bootstrap, score_arrays
from polycal.analysis.cell_metrics import Study, bounded
from polycal.analysis.contrasts import ECE, UNSMOOTHED, cut
from polycal.analysis.score_arrays import CELL, Answers
from polycal.metrics import calibration, chebyshev, recalibration
from polycal.metrics.arrays import Array, Integers

CURES = ("none", "english", "language", "resource")
HELD_OUT = 0.2
NODES = 8
FEW_NODES = 4
NARROW = 0.15
"""Nodes of the interpolation over the drawn temperatures; fewer where these lie within a factor e^0.3."""
COLUMNS = (
    *CELL,
    "cure",
    "temperature",
    "temperature_low",
    "temperature_high",
    "n",
    *(name + end for name in bootstrap.METRICS for end in ("", "_low", "_high")),
    "cut",
    "cut_low",
    "cut_high",
)


@functools.cache
def held_out(question_id: str) -> bool:
    """Whether a question serves the fit: a fifth of all ids, the same in every language, model and run."""
    digest = hashlib.sha256(f"temperature {question_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < HELD_OUT * 2**64


@dataclass(frozen=True)
class Half:
    """Questions of one language, held out or evaluated: relative log-probabilities and their draws."""

    below: Array
    gold: Integers
    correct: Array
    options: Integers
    weights: Array


@dataclass(frozen=True)
class Language:
    """One language of a series, cut into the questions that fit and those that evaluate."""

    cell: dict[str, str]
    resource: str
    fit: Half
    test: Half


@dataclass(frozen=True)
class Cured:
    """METRICS of one cell under one cure, estimated [9] and drawn [R, 9]."""

    cell: dict[str, str]
    cure: str
    temperature: float
    temperatures: Array
    n: int
    estimate: Array
    draws: Array


def rows(cured: Sequence[Cured]) -> list[dict[str, Any]]:
    """One row a cell and cure, and one a series and cure for the mean over languages (language ``mean``).

    cut is 1 - ece / (ece of the same series at β = 0 without a cure), for a base against itself without a
    cure.
    """
    found = {(one.cure, *one.cell.values()): one for one in cured}
    table = []
    for one in found.values():
        cell = one.cell if one.cell["data"] == "none" else {**one.cell, **UNSMOOTHED}
        table.append(_row(one, found.get(("none", *cell.values()))))
    return table


def cure_series(study: Study, languages: Sequence[Language]) -> list[Cured]:
    """All cures of one checkpoint on one benchmark, in every language and for their mean.

    The English fit is left out where English is not among them.
    """
    found: list[Cured] = []
    pools: dict[str, list[Language]] = {}
    for side in languages:
        pools.setdefault(side.resource, []).append(side)
        if side.cell["language"] == "en":
            pools["english"] = [side]
    shared = {name: fit([side.fit for side in members]) for name, members in pools.items()}
    for side in languages:
        one = np.ones(len(side.test.weights))
        choices = {"none": (1.0, one), "language": fit([side.fit]), "resource": shared[side.resource]}
        if "english" in shared:
            choices["english"] = shared["english"]
        found.extend(_cured(study, side, cure, *choices[cure]) for cure in CURES if cure in choices)
    for cure in CURES:
        members = [cured for cured in found if cured.cure == cure]
        if members:
            found.append(_mean(members))
    return found


def split(study: Study, source: Answers, log_p: Array) -> Language | None:
    """One Score file in two halves, of its log-probabilities [N, K]; None where either is empty."""
    resamples = study.resamples[source.cell["benchmark"]]
    drawn = resamples.weights[: bootstrap.COSTLY_DRAWS]
    weights = resamples.take(drawn, resamples.places(source.question_id))
    chosen = np.fromiter((held_out(name) for name in source.question_id), bool, len(source.gold))
    if chosen.all() or not chosen.any():
        return None
    below, correct = recalibration.log_ratios(log_p), (log_p.argmax(1) == source.gold).astype(np.float64)

    def half(kept: NDArray[np.bool_]) -> Half:
        return Half(below[kept], source.gold[kept], correct[kept], source.options[kept], weights[:, kept])

    resource = study.settings["resource"][source.cell["language"]]
    return Language(source.cell, resource, half(chosen), half(~chosen))


def fit(halves: Sequence[Half]) -> tuple[float, Array]:
    """The temperature over all these questions and that of every draw, [R]."""
    width = max(half.below.shape[1] for half in halves)
    below = np.concatenate(
        [
            np.pad(
                half.below, ((0, 0), (0, width - half.below.shape[1])), constant_values=recalibration.MIN_LOG_RATIO
            )
            for half in halves
        ]
    )
    gold = np.concatenate([half.gold for half in halves])
    temperature = recalibration.fit_temperature(below, gold)
    table = recalibration.tabulate_slopes(below, gold, recalibration.slope_nodes(temperature))
    weights = np.concatenate([half.weights for half in halves], axis=1)
    return temperature, recalibration.refit_temperatures(weights @ table, temperature)


def _cured(study: Study, side: Language, cure: str, temperature: float, temperatures: Array) -> Cured:
    bins, binning = study.settings["bins"], study.settings["binning"]
    test = side.test
    estimate = bootstrap.estimates(outcomes_at(test, temperature), bins=bins, binning=binning)
    if (temperatures == temperature).all():
        drawn = bootstrap.draws(outcomes_at(test, temperature), test.weights, bins=bins, binning=binning)
    else:
        drawn = refitted_draws(test, temperatures, bins=bins, binning=binning)
    return Cured(side.cell, cure, temperature, temperatures, len(test.gold), estimate, drawn)


def refitted_draws(test: Half, temperatures: Array, *, bins: int, binning: calibration.Binning) -> Array:
    """METRICS of every draw at its own temperature, [R, 9].

    What a question gives is a smooth function of the log temperature, taken from its values at NODES
    temperatures over the range of the draws (Chebyshev interpolation): a few softmaxes instead of R.
    """
    place = np.log(temperatures)
    low, high = place.min(), place.max()
    middle, reach = (low + high) / 2, max((high - low) / 2, 1e-9)
    count = NODES if reach > NARROW else FEW_NODES
    mix = chebyshev.interpolation_weights((place - middle) / reach, count)
    found = [
        outcomes_at(test, float(np.exp(middle + reach * node)))
        for node in chebyshev.nodes(count)
    ]
    return bootstrap.varying_draws(mix, found, test.weights, bins=bins, binning=binning)


def outcomes_at(half: Half, temperature: float) -> score_arrays.Outcomes:
    """What each question gives when its log-probabilities are divided by ``temperature``."""
    row = np.arange(len(half.gold))
    score = half.below / temperature
    weight = np.exp(score)
    total = weight.sum(1)
    p, log_total = weight / total[:, None], np.log(total)
    entropy = log_total - np.einsum("nk,nk->n", p, score)
    return score_arrays.Outcomes(
        confidence=1 / total,  # the largest score is zero
        correct=half.correct,
        entropy=entropy,
        entropy_normalised=entropy / np.log(half.options),
        brier=np.einsum("nk,nk->n", p, p) - 2 * p[row, half.gold] + 1,
        nll=log_total - score[row, half.gold],
        ties=0,
    )


def _mean(members: Sequence[Cured]) -> Cured:
    temperatures = np.array([cured.temperature for cured in members])
    return Cured(
        cell={**members[0].cell, "language": "mean"},
        cure=members[0].cure,
        temperature=float(temperatures.mean()),
        temperatures=np.mean([cured.temperatures for cured in members], axis=0),
        n=sum(cured.n for cured in members),
        estimate=np.mean([cured.estimate for cured in members], axis=0),
        draws=np.mean([cured.draws for cured in members], axis=0),
    )


def _row(cured: Cured, reference: Cured | None) -> dict[str, Any]:
    low, high = bootstrap.interval(np.array(cured.temperature), cured.temperatures)
    row: dict[str, Any] = {
        **cured.cell,
        "cure": cured.cure,
        "temperature": cured.temperature,
        "temperature_low": float(low),
        "temperature_high": float(high),
        "n": cured.n,
        **bounded(bootstrap.METRICS, cured.estimate, cured.draws),
    }
    row["cut"], row["cut_low"], row["cut_high"] = (
        (float("nan"),) * 3
        if reference is None
        else cut(cured.estimate[ECE], cured.draws[:, ECE], reference.estimate[ECE], reference.draws[:, ECE])
    )
    return row
