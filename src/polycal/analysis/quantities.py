"""A quantity that was measured on the same questions in one training or in several.

Several trainings are *clusters*. They are tunings of one base model with different seeds, or base models that
were built with different seeds. Trainings share the questions, so their errors are correlated. The variance
of a mean over m clusters has two parts:

- The *common* part is the covariance of two clusters over resampled questions. More clusters do not reduce
  it.
- The other part is 1/m of the variance between clusters. It includes what questions add in each cluster on
  its own, and it has m − 1 degrees of freedom.

The sum is an unbiased variance of a mean with crossed random effects. Resampling clusters and questions
independently would count what questions add twice (Owen 2007, "The pigeonhole bootstrap", Annals of Applied
Statistics 1(2)). The interval uses Student's t with the degrees of freedom of Satterthwaite (1946, Biometrics
Bulletin 2(6)).
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import special

from polycal.analysis import intervals

QUESTIONS, CONVERSATIONS, SEEDS, BASES = "questions", "conversations", "seeds", "bases"
LEVELS = (QUESTIONS, CONVERSATIONS, SEEDS, BASES)
"""What an interval can cover: other questions, other conversations, other tunings, other base models."""
MOST_FREEDOM = 1e6
"""From this number of degrees of freedom on, Student's t equals the normal distribution."""


class Clusters(NamedTuple):
    """The quantity in each of m trainings: estimates [m, ...] and samples [m, R, ...] over questions."""

    names: tuple[str, ...]
    estimates: NDArray
    samples: NDArray


def level_of(covers: Sequence[str]) -> str:
    """The key of a cell by which the clusters of a mean differ, given what its intervals cover."""
    return "base_seed" if BASES in covers else "seed"


class VarianceParts(NamedTuple):
    """Parts of a variance, each [...]: ``common`` to all ``clusters``, and ``own`` of each cluster.

    ``interaction`` is the part of ``own`` that questions cause. The variance of a mean over m clusters is
    common + own / m.
    """

    common: NDArray
    own: NDArray
    interaction: NDArray
    clusters: int

    @property
    def of_mean(self) -> NDArray:
        """The variance of the mean over the clusters."""
        return self.common + self.own / self.clusters

    @property
    def freedom(self) -> NDArray:
        """Satterthwaite's degrees of freedom of ``of_mean``.

        They are set to 1 for two clusters, because their estimate is too uncertain then.
        """
        if self.clusters == 2:
            return np.ones_like(self.own)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = self.of_mean / (self.own / self.clusters)
        freedom = (self.clusters - 1) * np.minimum(share, 1e3) ** 2
        return np.minimum(np.where(np.isnan(freedom), MOST_FREEDOM, freedom), MOST_FREEDOM)


@dataclass(frozen=True)
class Quantity:
    """An estimate [...] with bootstrap samples over questions [R, ...], and by cluster if there are several.

    ``covers`` are the sources of chance that the interval includes, in the order of LEVELS.
    """

    estimate: NDArray
    samples: NDArray
    clusters: Clusters | None = None
    covers: tuple[str, ...] = (QUESTIONS,)

    def minus(self, other: "Quantity") -> "Quantity":
        """The difference of two quantities on the same questions, cluster by cluster.

        Both must have the same clusters, or one of them has none.
        """
        clusters = self.clusters or other.clusters
        if clusters:
            one, two = self._by_cluster(), other._by_cluster()
            clusters = Clusters(clusters.names, one.estimates - two.estimates, one.samples - two.samples)
        return Quantity(
            self.estimate - other.estimate,
            self.samples - other.samples,
            clusters,
            covered(self.covers, other.covers),
        )

    def _by_cluster(self) -> Clusters:
        """The clusters; a quantity without clusters counts as one."""
        return self.clusters or Clusters((), self.estimate[None], self.samples[None])

    @functools.cached_property
    def variance(self) -> VarianceParts:
        """The parts of the variance, from estimates [m, ...] and samples [m, R, ...] of the clusters.

        ``own`` is the sample variance between clusters, and at least the interaction that the bootstrap
        finds. For a single training only the variance over questions is known. It is then ``common``, and the
        other parts are NaN.
        """
        if self.clusters is None:
            unknown = np.full_like(self.estimate, np.nan, dtype=np.float64)
            return VarianceParts(self.samples.var(0, ddof=1), unknown, unknown, 1)
        estimates, samples = self.clusters.estimates, self.clusters.samples
        count = len(estimates)
        of_mean, within = samples.mean(0).var(0, ddof=1), samples.var(1, ddof=1).mean(0)
        common = np.maximum((count * of_mean - within) / (count - 1), 0.0)
        interaction = np.maximum(within - common, 0.0)
        own = np.maximum(estimates.var(0, ddof=1), interaction)
        return VarianceParts(common, own, interaction, count)

    def interval(self, level: float = 0.95) -> tuple[NDArray, NDArray]:
        """Bounds of the ``level`` interval over questions and clusters, each [...].

        For one training they are those of ``intervals.interval``.
        """
        if self.clusters is None:
            return intervals.interval(self.estimate, self.samples, level)
        parts = self.variance
        half = special.stdtrit(parts.freedom, (1 + level) / 2) * np.sqrt(parts.of_mean)
        return self.estimate - half, self.estimate + half

    def p_value(self) -> NDArray:
        """Two-sided p of "the quantity is zero"."""
        if self.clusters is None:
            return intervals.p_value(self.estimate, self.samples)
        return 2 * self._tail(np.abs(self.estimate))

    def p_above(self, bound: float = 0.0) -> NDArray:
        """One-sided p of "the quantity is at most ``bound``"."""
        if self.clusters is None:
            return intervals.p_above(self.estimate, self.samples, bound)
        return self._tail(self.estimate - bound)

    def _tail(self, distance: NDArray) -> NDArray:
        """The probability that an estimate lies at least ``distance`` above the truth."""
        parts = self.variance
        deviation = np.sqrt(parts.of_mean)
        with np.errstate(divide="ignore", invalid="ignore"):
            # If the variance is zero, any distance but zero has p = 0.
            ratio = np.where(np.abs(distance) <= 1e-12, 0.0, distance / deviation)
        return special.stdtr(parts.freedom, -ratio)


class Pooled(Protocol):
    """A result that may be a mean over the results ``members`` of several trainings, with what it covers."""

    @property
    def cell(self) -> Mapping[str, str]: ...

    @property
    def members(self) -> Sequence[Any]: ...

    @property
    def covers(self) -> tuple[str, ...]: ...


Result = TypeVar("Result", bound=Pooled)


def trainings_of(result: Pooled) -> tuple[str, ...]:
    """The seed of each member of a result, or its base seed in a mean over base models; empty for one training."""
    level = level_of(result.covers)
    return tuple(member.cell[level] for member in result.members)


def same_trainings(*results: Pooled) -> bool:
    """Whether all results that are means over trainings are means over the same ones."""
    return len({trainings_of(result) for result in results if result.members}) < 2


def quantity_of(result: Result, values: Callable[[Result], tuple[NDArray, NDArray]]) -> Quantity:
    """The quantity of a result, with its trainings as clusters.

    ``values`` returns the estimate [...] and the samples [R, ...] of the result or of one of its members.
    """
    clusters = None
    if result.members:
        estimates, samples = zip(*map(values, result.members), strict=True)
        clusters = Clusters(trainings_of(result), np.stack(estimates), np.stack(samples))
    return Quantity(*values(result), clusters, result.covers)


def covered(*parts: Sequence[str]) -> tuple[str, ...]:
    """The levels that occur in any of ``parts``, in the order of LEVELS."""
    return tuple(level for level in LEVELS if any(level in part for part in parts))


def mean(quantities: Sequence[Quantity]) -> Quantity:
    """The unweighted mean (over languages, for example) of quantities on the same questions and clusters."""
    clusters = quantities[0].clusters
    if clusters:
        members = [quantity.clusters for quantity in quantities if quantity.clusters]
        clusters = Clusters(
            clusters.names,
            np.mean([member.estimates for member in members], axis=0),
            np.mean([member.samples for member in members], axis=0),
        )
    return Quantity(
        np.mean([quantity.estimate for quantity in quantities], axis=0),
        np.mean([quantity.samples for quantity in quantities], axis=0),
        clusters,
        covered(*(quantity.covers for quantity in quantities)),
    )


def with_intervals(names: Sequence[str], quantity: Quantity) -> dict[str, float]:
    """Each metric of ``quantity`` [M] with the bounds of its 95% interval: NAME, NAME_low, NAME_high."""
    return intervals.bounded(names, quantity.estimate, *quantity.interval())
