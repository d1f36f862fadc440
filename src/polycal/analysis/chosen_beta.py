"""Choosing β: on English, on each resource level or on each language, evaluated on other questions.

The β is chosen by ``beta_rule`` on all folds of questions but one, and evaluated on that one
(``cross_fitting``). It is compared with β = 0, with one temperature of the model with β = 0 that is fitted on the
same English questions, and with one temperature of the model with the β chosen on English. Everything is chosen
and fitted again in each bootstrap sample, so intervals include the choice.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from polycal.analysis import beta_rule, cross_fitting, quantities, trainings
from polycal.analysis.conditions import UNSMOOTHED, Condition
from polycal.analysis.cross_fitting import METRICS, FoldedCell, Index
from polycal.analysis.quantities import Quantity, covered
from polycal.analysis.score_set import ScoreSet
from polycal.metrics.arrays import Array
from polycal.vocabulary import NONE

ENGLISH, RESOURCE, LANGUAGE = "english", "resource", "language"
PLAIN, BETA, TEMPERATURE, BOTH = "unsmoothed", "beta", "temperature", "beta_and_temperature"
CHOICES = (
    (NONE, PLAIN),
    (ENGLISH, BETA),
    (RESOURCE, BETA),
    (LANGUAGE, BETA),
    (ENGLISH, TEMPERATURE),
    (ENGLISH, BOTH),
)
"""Every pair of what the choice is made on and what is chosen."""
SEVERAL = "several"
"""The β of a mean whose members have different ones, and the β of all results before a row is made."""


@dataclass(frozen=True)
class Chosen:
    """METRICS of one cell under one choice, estimated [4] and in the bootstrap samples [R, 4].

    - ``beta`` is what is chosen on all questions; ``choices`` counts what is chosen outside each fold.
    - ``temperature`` is the mean of those fitted outside each fold, NaN without one.
    - ``floor`` [F] are simulated ECEs of a calibrated model; empty if the result is not a reference.
    - ``holes`` is the number of missing languages of a mean. If it is above zero, all values are NaN.
    - ``members`` are the results of the trainings of a mean over several.
    - ``covers`` are the sources of chance that the intervals include.
    """

    cell: dict[str, str]
    chosen_on: str
    method: str
    beta: str
    choices: Counter[str]
    temperature: float
    n: int
    estimate: Array
    samples: Array
    floor: Array = field(default_factory=lambda: np.zeros(0))
    holes: int = 0
    members: Sequence["Chosen"] = ()
    covers: tuple[str, ...] = (quantities.QUESTIONS,)

    @property
    def quantity(self) -> Quantity:
        """The METRICS [4], with samples and trainings."""
        return quantities.quantity_of(self, lambda result: (result.estimate, result.samples))


@dataclass(frozen=True)
class SweptLanguage:
    """One language of a sweep: a FoldedCell per β in ascending order, β = 0 first.

    ``floor`` [F] are simulated ECEs of a calibrated model with the confidences of β = 0.
    """

    cell: dict[str, str]
    resource: str
    cells: Sequence[FoldedCell]
    floor: Array


class Sweep:
    """The choices in one sweep of β over its complete languages."""

    def __init__(self, score_set: ScoreSet, betas: Sequence[str], languages: Sequence[SweptLanguage]) -> None:
        self.betas, self.languages = betas, languages
        self.bins = {"bins": score_set.settings["bins"], "binning": score_set.settings["binning"]}
        resamples = score_set.resamples[languages[0].cell["benchmark"]]
        self.weights = [cross_fitting.counts(resamples, language.cells[0]) for language in languages]
        self.sums = [
            [cross_fitting.fold_sums(cell, weights, **self.bins) for cell in language.cells]
            for language, weights in zip(languages, self.weights, strict=True)
        ]

    def chosen(self, places: Sequence[int]) -> Index:
        """The chosen β outside each fold and on all questions, [S, FOLDS + 1], on the languages ``places``."""
        scores = [
            [
                cross_fitting.without_each_fold(cell, sums, self.weights[place], bins=self.bins["bins"])
                for cell, sums in zip(self.languages[place].cells, self.sums[place], strict=True)
            ]
            for place in places
        ]
        ece, accuracy = np.mean(scores, axis=0).swapaxes(0, 1)
        return beta_rule.chosen(ece, accuracy)

    def results(self, chosen_on: str, fitted_on: Sequence[int], applied_to: Sequence[int]) -> list[Chosen]:
        """The results of all methods in the languages ``applied_to``, chosen on those of ``fitted_on``."""
        unsmoothed = np.zeros((len(self.weights[0]), cross_fitting.FOLDS + 1), np.int64)
        if chosen_on == NONE:
            return [self._result(NONE, PLAIN, place, unsmoothed, {}) for place in applied_to]
        best = self.chosen(fitted_on)
        results = [self._result(chosen_on, BETA, place, best, {}) for place in applied_to]
        if chosen_on == ENGLISH:
            temperatures = {
                index: cross_fitting.refitted(
                    [self.languages[place].cells[index] for place in fitted_on],
                    [self.weights[place] for place in fitted_on],
                )
                for index in {0, *np.unique(best[:, :-1]).tolist()}
            }
            for method, choice in ((TEMPERATURE, unsmoothed), (BOTH, best)):
                results += [
                    self._result(ENGLISH, method, place, choice, temperatures) for place in applied_to
                ]
        return results

    def _result(
        self, chosen_on: str, method: str, place: int, choice: Index, temperatures: Mapping[int, Array]
    ) -> Chosen:
        language, weights = self.languages[place], self.weights[place]
        by_fold, first = choice[:, :-1], choice[0].tolist()
        values = cross_fitting.evaluated(
            language.cells, self.sums[place], weights, by_fold, temperatures, **self.bins
        )
        used = [temperatures[index][0, number] for number, index in enumerate(first[:-1]) if temperatures]
        return Chosen(
            cell={**language.cell, "beta": SEVERAL},
            chosen_on=chosen_on,
            method=method,
            beta=self.betas[first[-1]],
            choices=Counter(self.betas[index] for index in first[:-1]),
            temperature=float(np.mean(used)) if used else float("nan"),
            n=len(language.cells[0].gold),
            estimate=values[0],
            samples=values[1:],
            floor=language.floor if method == PLAIN else np.zeros(0),
        )


def choose(
    score_set: ScoreSet,
    betas: Sequence[str],
    languages: Sequence[SweptLanguage],
    condition: Condition,
    missing: Mapping[str, str],
) -> list[Chosen]:
    """Every choice in every complete language of a sweep, and for the mean over languages.

    ``betas`` are in ascending order. ``missing`` are the languages that lack a result for some β, with their
    resource level. With missing languages the means are empty, and choices that would be made on a missing
    language are left out. The result is empty without β = 0, and with β = 0 alone.
    """
    if UNSMOOTHED not in betas or len(betas) < 2 or not (languages or missing):
        return []
    results: list[Chosen] = []
    if languages:
        sweep = Sweep(score_set, betas, languages)
        every = range(len(languages))
        results += sweep.results(NONE, (), every)
        if english := [place for place in every if languages[place].cell["language"] == "en"]:
            results += sweep.results(ENGLISH, english, every)
        for level in sorted({language.resource for language in languages} - set(missing.values())):
            places = [place for place in every if languages[place].resource == level]
            results += sweep.results(RESOURCE, places, places)
        for place in every:
            results += sweep.results(LANGUAGE, [place], [place])
    return [*results, *_over_languages(results, condition, missing)]


def _over_languages(
    results: Sequence[Chosen], condition: Condition, missing: Mapping[str, str]
) -> list[Chosen]:
    """The mean of every choice over languages; empty if there are missing ones."""
    over = {**condition._asdict(), "beta": SEVERAL, "language": "mean"}
    if missing:
        english = "en" in {*missing, *(result.cell["language"] for result in results)}
        nothing = np.full(len(METRICS), np.nan)
        return [
            Chosen(
                over, chosen_on, method, "", Counter(), np.nan, 0, nothing, nothing[None], holes=len(missing)
            )
            for chosen_on, method in CHOICES
            if chosen_on != ENGLISH or english
        ]
    means = []
    for choice in CHOICES:
        members = [result for result in results if (result.chosen_on, result.method) == choice]
        if members:
            means.append(replace(_mean(members), cell=over, n=sum(member.n for member in members)))
    return means


def _mean(members: Sequence[Chosen]) -> Chosen:
    """The mean of ``members`` over languages or trainings, with the keys of the first."""
    betas = {member.beta for member in members}
    return replace(
        members[0],
        beta=members[0].beta if len(betas) == 1 else SEVERAL,
        choices=sum((member.choices for member in members), Counter()),
        temperature=float(np.mean([member.temperature for member in members])),
        estimate=np.mean([member.estimate for member in members], axis=0),
        samples=np.mean([member.samples for member in members], axis=0),
        floor=np.mean([member.floor for member in members], axis=0),
    )


def pool(results: Sequence[Chosen]) -> list[Chosen]:
    """The means over several trainings of every choice, in every language and for their mean.

    A mean is left out if one of its members is missing or empty.
    """

    def join(members: list[Chosen], condition: Condition, covers: tuple[str, ...]) -> Chosen:
        first = members[0]
        return replace(
            _mean(members),
            cell={**first.cell, **condition._asdict()},
            members=members,
            covers=covered(first.covers, covers),
        )

    return trainings.pool(
        results, lambda result: f"{result.chosen_on} {result.method} {result.cell['language']}", join
    )
