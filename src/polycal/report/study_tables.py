"""What tables and figures show of a study: its measured tables, and how checkpoints and languages are named."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from polycal.errors import PolycalError

LEVELS = ("high", "mid", "low")
# Okabe and Ito's palette, which colour-blind readers tell apart; one colour and shape a setting, grey is the base
COLOURS = ["#7f7f7f", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00"]
MARKERS = ["o", "s", "^", "D", "v", "P"]
FIXED = ("model", "data", "recipe", "seed", "benchmark", "protocol")


def mark(place: int) -> tuple[str, str]:
    """Colour and shape of the setting at ``place`` in a series; after six of them both begin anew."""
    return COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]


class StudyError(PolycalError):
    """A study folder that cannot be shown; the message says which table is missing."""


@dataclass(frozen=True)
class Study:
    """The measured tables of a study, by name, with the names of languages."""

    tables: Mapping[str, pd.DataFrame]
    languages: Mapping[str, str]

    def __getitem__(self, name: str) -> pd.DataFrame:
        return self.tables[name]

    def tuned(self) -> list[tuple[str, str, str, str, str, str]]:
        """(model, data, recipe, seed, benchmark, protocol) of every tuned series, in order."""
        cells = self["cells"]
        return sorted(set(cells[cells.data != "none"][list(FIXED)].itertuples(index=False, name=None)))

    def of(self, table: str, series: tuple[str, ...]) -> pd.DataFrame:
        """Rows of a tuned series with those of its base, ``setting`` naming each: base, β = 0, …"""
        model, data, recipe, seed, benchmark, protocol = series
        found = self[table]
        same = (found.model == model) & (found.benchmark == benchmark) & (found.protocol == protocol)
        own = (found.data == data) & (found.recipe == recipe) & (found.seed == seed)
        chosen = found[same & (own | (found.data == "none"))].copy()
        chosen["setting"] = [setting(beta) for beta in chosen.beta]
        return chosen

    def smoothed(self, series: tuple[str, ...]) -> pd.DataFrame:
        """The contrasts of a tuned series' smoothed checkpoints against β = 0; empty where none were measured."""
        found = self.tables.get("contrasts", pd.DataFrame())
        if found.empty:
            return found
        same = found.contrast == "smoothed_minus_unsmoothed"
        for name, value in zip(FIXED, series, strict=True):
            same &= found[name] == value
        return found[same]


def setting(beta: str) -> str:
    """How a checkpoint is called beside others of its series."""
    return "base" if beta == "none" else f"β = {beta}"


def settings(found: pd.DataFrame) -> list[str]:
    """The settings of a series in order: base, then β rising."""
    betas = sorted({b for b in found.beta if b != "none"}, key=float)
    return [setting(b) for b in (["none"] if "none" in set(found.beta) else []) + betas]


def in_order(found: pd.DataFrame) -> list[str]:
    """Language codes by resource level, high first, then by code."""
    levels = dict(zip(found.language, found.resource, strict=True))
    return sorted(levels, key=lambda code: (LEVELS.index(levels[code]), code))


def read(folder: Path, names: Mapping[str, str]) -> Study:
    """The study in ``folder``; ``names`` gives languages' English names by code.

    Raises StudyError where cells, means or reliability are missing; other tables may be absent.
    """
    tables: dict[str, Any] = {}
    for path in sorted(folder.glob("*.parquet")):
        tables[path.stem] = pd.read_parquet(path)
    for name in ("cells", "means", "reliability"):
        if name not in tables:
            raise StudyError(f"{folder}: {name}.parquet is missing; run 'polycal measure' first.")
    return Study(tables, names)
