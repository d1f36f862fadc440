"""Conditions: the keys of a cell without its language, and the pairs of conditions that are compared.

A mean over languages is taken within one condition.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from polycal.vocabulary import CELL_KEYS, NONE

TUNED_MINUS_BASE = "tuned_minus_base"
SMOOTHED_MINUS_UNSMOOTHED = "smoothed_minus_unsmoothed"
DATA_MINUS_DATA = "data_minus_data"
REFERENCE = {TUNED_MINUS_BASE: "base", SMOOTHED_MINUS_UNSMOOTHED: "β = 0"}
"""What each contrast subtracts. ``data_minus_data`` has the name of the other data set instead."""
UNSMOOTHED = "0"
"""The β of a model that was tuned without label smoothing."""


class Condition(NamedTuple):
    """A checkpoint on a benchmark under a protocol: the keys of a cell without its language."""

    model: str
    base_seed: str
    data: str
    recipe: str
    beta: str
    seed: str
    benchmark: str
    protocol: str

    @classmethod
    def of(cls, cell: Mapping[str, Any]) -> "Condition":
        """The condition of a cell."""
        return cls(*(str(cell[name]) for name in cls._fields))

    @property
    def is_base(self) -> bool:
        """Whether the model is a base model, which is not tuned."""
        return self.data == NONE

    def base(self) -> "Condition":
        """The base model: before tuning, with the same base seed."""
        return self._replace(data=NONE, recipe=NONE, beta=NONE, seed=NONE)

    def unsmoothed(self) -> "Condition":
        """The model tuned in the same way with β = 0. For a base model, the base model itself."""
        return self if self.is_base else self._replace(beta=UNSMOOTHED)

    def references(self) -> Iterator[tuple[str, "Condition"]]:
        """Pairs (contrast, reference): its base model, and itself with β = 0. A base model has none."""
        if self.is_base:
            return
        yield TUNED_MINUS_BASE, self.base()
        if self.beta != UNSMOOTHED:
            yield SMOOTHED_MINUS_UNSMOOTHED, self.unsmoothed()


def cell_key(cell: Mapping[str, Any]) -> tuple[str, ...]:
    """The values of CELL_KEYS, which identify a cell."""
    return tuple(str(cell[name]) for name in CELL_KEYS)
