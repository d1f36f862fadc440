"""Which results are means over several trainings: tunings with several seeds, and base models built with several.

The key of a mean over seeds is ``all``. A mean over base models is one of the means over their tunings.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from polycal.analysis.conditions import Condition
from polycal.analysis.quantities import BASES, SEEDS

ALL = "all"
"""Value of ``seed`` or ``base_seed`` in the keys of a mean over several."""
Level = Literal["seed", "base_seed"]


class Found(NamedTuple):
    """A result of the grid: its condition, its place in it (such as a language), and the result or None for a hole."""

    condition: Condition
    place: str
    result: Any


Join = Callable[[list[Any], Condition, tuple[str, ...]], Any]
"""The mean of results, from their list, the condition of the mean, and what its intervals cover beyond questions."""


def over_trainings(found: Sequence[Found], join: Join) -> list[Found]:
    """The means over seeds, then those over base models; without a result if a member is a hole.

    Only seeds that all results of a recipe have are taken, and base models that all have.
    """
    over_seeds = over_level(found, "seed", join)
    pooled = {one.condition for one in over_seeds}
    # a base model with several tunings takes part with their mean alone
    alone = [one for one in found if one.condition._replace(seed=ALL) not in pooled]
    return [*over_seeds, *over_level([*alone, *over_seeds], "base_seed", join)]


def over_level(found: Sequence[Found], level: Level, join: Join) -> list[Found]:
    """The means over ``level``; none where fewer than two of its seeds are shared."""
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
    """What an interval of this mean covers in addition to the questions."""
    seeds = () if condition.is_base else (SEEDS,)
    return (*seeds, BASES) if condition.base_seed == ALL else seeds
