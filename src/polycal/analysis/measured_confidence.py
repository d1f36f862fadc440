"""A measure of confidence in one cell or in a mean over cells: its metrics with bootstrap samples.

Answers to multiple choice and generated answers are measured alike.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from polycal.analysis import quantities, trainings
from polycal.analysis.conditions import Condition
from polycal.analysis.quantities import Quantity, covered
from polycal.analysis.trainings import Found
from polycal.metrics.arrays import Array

MEAN, ALL = "mean", "all"
"""The language of a mean over languages, and its resource level if it is over all of them."""
Counts = Mapping[str, Any]


@dataclass(frozen=True)
class MeasuredConfidence:
    """One measure of confidence in one cell, or in a mean over languages or trainings.

    - ``counts`` are numbers of questions and the like, by column.
    - ``binned`` [B] are metrics with samples [R, B], and ``ranked`` [M] are metrics with fewer samples [S, M].
    - ``holes`` is the number of missing languages of a mean. If it is above zero, all metrics are NaN.
    - ``members`` are the results of the trainings of a mean over several.
    - ``covers`` are the sources of chance that the intervals include.
    """

    cell: dict[str, str]
    resource: str
    measure: str
    counts: Counts
    binned: Array
    binned_samples: Array
    ranked: Array
    ranked_samples: Array
    holes: int = 0
    members: Sequence["MeasuredConfidence"] = field(default=())
    covers: tuple[str, ...] = (quantities.QUESTIONS,)

    @property
    def place(self) -> tuple[str, str, str]:
        """Measure, resource level and language: what results of different conditions have in common."""
        return self.measure, self.resource, self.cell["language"]

    @property
    def binned_quantity(self) -> Quantity:
        """The metrics ``binned`` [B], with samples and trainings."""
        return quantities.quantity_of(self, lambda result: (result.binned, result.binned_samples))

    @property
    def ranked_quantity(self) -> Quantity:
        """The metrics ``ranked`` [M], with samples and trainings."""
        return quantities.quantity_of(self, lambda result: (result.ranked, result.ranked_samples))


def mean(
    members: Sequence[MeasuredConfidence], cell: dict[str, str], resource: str, counts: Counts
) -> MeasuredConfidence:
    """The unweighted mean of ``members``, which are languages or trainings."""
    return MeasuredConfidence(
        cell=cell,
        resource=resource,
        measure=members[0].measure,
        counts=counts,
        binned=np.mean([result.binned for result in members], axis=0),
        binned_samples=_mean_samples([result.binned_samples for result in members]),
        ranked=np.mean([result.ranked for result in members], axis=0),
        ranked_samples=_mean_samples([result.ranked_samples for result in members]),
    )


def _mean_samples(samples: Sequence[Array]) -> Array:
    """The mean of samples [R, M] of several cells. It is NaN if one of them has no questions."""
    return np.mean(np.broadcast_arrays(*samples), axis=0)


def empty(
    cell: dict[str, str], resource: str, measure: str, counts: Counts, metrics: tuple[int, int], holes: int
) -> MeasuredConfidence:
    """A result without values. ``metrics`` are the numbers of binned and of ranked metrics."""
    binned, ranked = (np.full(number, np.nan) for number in metrics)
    return MeasuredConfidence(
        cell, resource, measure, counts, binned, binned[None], ranked, ranked[None], holes
    )


def pool(
    results: Sequence[MeasuredConfidence], counted: Callable[[Sequence[MeasuredConfidence]], Counts]
) -> list[MeasuredConfidence]:
    """The means over several trainings, for every measure, language and resource level.

    A mean is left out if one of its members is missing or empty. ``counted`` returns the counts of a mean.
    """
    found = [Found(Condition.of(one.cell), _name(one), one) for one in results if not one.holes]
    there = {(one.condition, one.place) for one in found}
    for lost in sorted({Condition.of(one.cell) for one in results if one.holes}):
        places = {one.place for one in found if _family(one.condition) == _family(lost)}
        found += [Found(lost, place, None) for place in sorted(places) if (lost, place) not in there]

    def join(
        members: list[MeasuredConfidence], condition: Condition, covers: tuple[str, ...]
    ) -> MeasuredConfidence:
        first = members[0]
        cell = {**first.cell, **condition._asdict()}
        joined = mean(members, cell, first.resource, counted(members))
        return replace(joined, members=members, covers=covered(first.covers, covers))

    means = trainings.over_trainings(found, join)
    return [mean.result for mean in means if mean.result is not None]


def _name(result: MeasuredConfidence) -> str:
    return " ".join(result.place)


def _family(condition: Condition) -> Condition:
    """What the trainings of a mean share, whatever their β."""
    return condition._replace(base_seed="", seed="", beta="")
