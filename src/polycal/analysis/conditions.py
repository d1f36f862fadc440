"""Conditions: what a mean over languages keeps apart, and which condition another one is compared with."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from polycal.vocabulary import CELL_KEYS, NONE

TUNED_MINUS_BASE = "tuned_minus_base"
SMOOTHED_MINUS_UNSMOOTHED = "smoothed_minus_unsmoothed"
DATA_MINUS_DATA = "data_minus_data"
UNSMOOTHED = "0"
"""β of a model that was tuned without label smoothing."""


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
        """Whether the model is not tuned."""
        return self.data == NONE

    def base(self) -> "Condition":
        """The model before tuning, with the same pre-training seed."""
        return self._replace(data=NONE, recipe=NONE, beta=NONE, seed=NONE)

    def unsmoothed(self) -> "Condition":
        """The model tuned in the same way with β = 0; an untuned model itself."""
        return self if self.is_base else self._replace(beta=UNSMOOTHED)

    def references(self) -> Iterator[tuple[str, "Condition"]]:
        """(contrast, condition that this one is compared with): its base, and itself with β = 0."""
        if self.is_base:
            return
        yield TUNED_MINUS_BASE, self.base()
        if self.beta != UNSMOOTHED:
            yield SMOOTHED_MINUS_UNSMOOTHED, self.unsmoothed()


def cell_key(cell: Mapping[str, Any]) -> tuple[str, ...]:
    """The values of CELL_KEYS, which name a cell."""
    return tuple(str(cell[name]) for name in CELL_KEYS)
