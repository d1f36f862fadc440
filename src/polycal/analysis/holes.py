"""Holes: cells of a study's grid that have no result, each with the stage and the sentence that say why.

A number is computed from all the cells that it covers, or not at all. A row of one cell or of one pair of cells that
needs a hole is absent. A row over several languages, seeds or conditions is there with empty estimates, and its
column ``holes`` says how many cells are missing.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from polycal.analysis.conditions import Condition
from polycal.vocabulary import CELL_KEYS

COLUMNS = (*CELL_KEYS, "stage", "reason")

Gaps = Mapping[Condition, Collection[str]]
"""The languages of each condition that are holes."""
NO_GAPS: Gaps = {}


@dataclass(frozen=True)
class Hole:
    """A cell without a result: the keys of the cell, the stage that gave none, and its sentence."""

    cell: dict[str, str]
    stage: str
    reason: str

    @property
    def row(self) -> dict[str, str]:
        """The hole as a row of COLUMNS."""
        return {**self.cell, "stage": self.stage, "reason": self.reason}


def gaps(holes: Iterable[Hole]) -> dict[Condition, set[str]]:
    """The languages of each condition that are holes."""
    languages: dict[Condition, set[str]] = {}
    for hole in holes:
        languages.setdefault(Condition.of(hole.cell), set()).add(hole.cell["language"])
    return languages


def joined(*parts: Gaps) -> dict[Condition, set[str]]:
    """The gaps of all ``parts``."""
    together: dict[Condition, set[str]] = {}
    for part in parts:
        for condition, languages in part.items():
            together.setdefault(condition, set()).update(languages)
    return together
