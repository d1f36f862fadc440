"""Holes: cells of a study's grid that have no result, each with the stage that failed and the reason.

A value is computed from all the cells that it covers, or not at all. A row about one cell or one pair of
cells is absent if a cell is missing. A row over several languages, seeds or conditions is present with empty
estimates, and its column ``holes`` is the number of missing cells.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from polycal.analysis.conditions import Condition
from polycal.vocabulary import CELL_KEYS

COLUMNS = (*CELL_KEYS, "stage", "reason")

Gaps = Mapping[Condition, Collection[str]]
"""The missing languages of each condition."""
NO_GAPS: Gaps = {}


@dataclass(frozen=True)
class Hole:
    """A cell without a result: its keys, the stage that gave none, and the reason as a sentence."""

    cell: dict[str, str]
    stage: str
    reason: str

    @property
    def row(self) -> dict[str, str]:
        """The hole as a row of COLUMNS."""
        return {**self.cell, "stage": self.stage, "reason": self.reason}


def gaps(holes: Iterable[Hole]) -> dict[Condition, set[str]]:
    """The missing languages of each condition."""
    languages: dict[Condition, set[str]] = {}
    for hole in holes:
        languages.setdefault(Condition.of(hole.cell), set()).add(hole.cell["language"])
    return languages


def joined(*parts: Gaps) -> dict[Condition, set[str]]:
    """The union of several ``Gaps``."""
    together: dict[Condition, set[str]] = {}
    for part in parts:
        for condition, languages in part.items():
            together.setdefault(condition, set()).update(languages)
    return together
