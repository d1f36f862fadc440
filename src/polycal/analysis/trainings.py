"""Means over several trainings: over tunings with different seeds, and over base models with different seeds.

In the key of a mean, the seed is ``all``. A mean over base models is a mean of the means over their tunings.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from polycal.analysis.conditions import Condition
from polycal.analysis.quantities import BASES, SEEDS

ALL = "all"
"""The value of ``seed`` or ``base_seed`` in the keys of a mean over several."""
Level = Literal["seed", "base_seed"]


class Found(NamedTuple):
    """A result of the grid: its condition, its place (such as a language), its value (None for a hole)."""

    condition: Condition
    place: str
    result: Any


Join = Callable[[list[Any], Condition, tuple[str, ...]], Any]
"""Computes a mean from a list of results, its condition, and what its intervals cover besides questions."""


def over_trainings(found: Sequence[Found], join: Join) -> list[Found]:
    """The means over seeds, then those over base models. The result of a mean with a missing member is None.

    Only seeds and base models that all β and places of a family share are used.
    """
    over_seeds = over_level(found, "seed", join)
    pooled = {one.condition for one in over_seeds}
    # A base model with several tunings is represented by their mean only.
    alone = [one for one in found if one.condition._replace(seed=ALL) not in pooled]
    return [*over_seeds, *over_level([*alone, *over_seeds], "base_seed", join)]


def pool(results: Sequence[Any], place: Callable[[Any], str], join: Join) -> list[Any]:
    """The means over several trainings of results that have a ``cell`` and ``holes``, at every ``place``.

    A mean is left out if one of its members has holes.
    """
    found = [Found(Condition.of(one.cell), place(one), None if one.holes else one) for one in results]
    return [mean.result for mean in over_trainings(found, join) if mean.result is not None]


def over_level(found: Sequence[Found], level: Level, join: Join) -> list[Found]:
    """The means over ``level``. There is none for a family with fewer than two shared seeds."""
    families: dict[Condition, dict[tuple[str, str], dict[str, Any]]] = {}
    for condition, place, result in found:
        family = _pooled(condition, level)._replace(beta="")
        by_seed = families.setdefault(family, {}).setdefault((condition.beta, place), {})
        by_seed[getattr(condition, level)] = result
    means: list[Found] = []
    for family, members in families.items():
        seeds = sorted(set.intersection(*(set(by_seed) for by_seed in members.values())))
        if len(seeds) < 2:
            continue
        for (beta, place), by_seed in members.items():
            condition = family._replace(beta=beta)
            results = [by_seed[seed] for seed in seeds]
            whole = all(result is not None for result in results)
            means.append(
                Found(condition, place, join(results, condition, _covers(condition)) if whole else None)
            )
    return means


def _pooled(condition: Condition, level: Level) -> Condition:
    """The condition of a mean over ``level``."""
    if level == "seed":
        return condition._replace(seed=ALL)
    return condition._replace(base_seed=ALL, seed=condition.seed if condition.is_base else ALL)


def _covers(condition: Condition) -> tuple[str, ...]:
    """What the interval of this mean covers besides the questions."""
    seeds = () if condition.is_base else (SEEDS,)
    return (*seeds, BASES) if condition.base_seed == ALL else seeds
