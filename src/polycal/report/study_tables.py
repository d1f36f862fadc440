"""The measured tables of a study as the report reads them, and names of checkpoints and languages."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from polycal.artifacts import records
from polycal.errors import PolycalError
from polycal.vocabulary import CELL_KEYS, NONE, RESOURCE_LEVELS

REQUIRED = ("cells", "means", "reliability")
"""Tables that every study must have."""
BASE = "base"
"""Name of the setting of a base model."""
LEVELS = (*RESOURCE_LEVELS, "")
"""Resource levels in the order of tables. The last is that of languages whose level is unknown."""


class StudyError(PolycalError):
    """A study folder without a measured table; the message contains the table's name."""


ALL = "all"
"""The seed or base seed of a mean over several trainings."""
CONDITION_KEYS = ("base_seed", "recipe", "seed")
"""Keys besides β in which checkpoints of one model and data set can differ."""


class BetaSweep(NamedTuple):
    """Checkpoints that differ only in β: one base model, data set, recipe and seed, scored in one way."""

    model: str
    base_seed: str
    data: str
    recipe: str
    seed: str
    benchmark: str
    protocol: str


@dataclass(frozen=True)
class StudyTables:
    """The measured tables of a study by name (without ``.parquet``), and English language names by code.

    ``condition`` is the base seed, recipe or seed of all rows, if the tables are a part of a larger study.
    ``diagrams`` are languages that have reliability diagrams in any case; ``all`` among them means every one.
    """

    tables: Mapping[str, pd.DataFrame]
    languages: Mapping[str, str]
    condition: Mapping[str, str] = field(default_factory=dict)
    diagrams: Sequence[str] = ()

    def __getitem__(self, name: str) -> pd.DataFrame:
        return self.tables[name]

    def get(self, name: str) -> pd.DataFrame:
        """The table ``name``, or an empty table without columns if it was not measured."""
        return self.tables.get(name, pd.DataFrame())

    @property
    def of_records(self) -> bool:
        """Whether the tables are those of score records without a grid (``record_tables``)."""
        return "records" in self.tables

    @property
    def tuned(self) -> bool:
        """Whether a checkpoint is tuned. If none is, models are compared with each other."""
        return bool((self["cells"].data != NONE).any())

    def untuned_rows(self, table: str, benchmark: str, protocol: str) -> pd.DataFrame:
        """Rows of the untuned models of a benchmark and protocol. The column ``setting`` is the name of the run.

        Models with a tuned checkpoint there are left out, because ``rows`` shows them as the base of its sweep.
        """
        rows, sweeps = self[table], self.beta_sweeps(benchmark, protocol)
        chosen = (rows.benchmark == benchmark) & (rows.protocol == protocol) & (rows.data == NONE)
        rows = rows[chosen & ~rows.model.isin([sweep.model for sweep in sweeps])]
        return rows.assign(setting=untuned_names(rows))

    def with_settings(self, rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
        """``rows`` with a column ``setting``, and its values in order: base and β; names of runs if none is tuned."""
        if self.tuned or not self.of_records:
            return rows.assign(setting=[setting_name(beta) for beta in rows.beta]), setting_names(rows)
        return rows.assign(setting=untuned_names(rows)), sorted(set(untuned_names(rows)))

    def language_name(self, code: str) -> str:
        """The English name of a language, or its code if the name is unknown."""
        return self.languages.get(code, code)

    def beta_sweeps(
        self, benchmark: str | None = None, protocol: str | None = None, table: str = "cells"
    ) -> list[BetaSweep]:
        """All sweeps of tuned checkpoints, sorted; only those of ``benchmark`` and ``protocol``, if given.

        Those of the table means include the means over several trainings.
        """
        rows = self[table]
        keys = rows[rows.data != NONE][list(BetaSweep._fields)]
        sweeps = sorted({BetaSweep(*row) for row in keys.itertuples(index=False, name=None)})
        return [
            sweep
            for sweep in sweeps
            if benchmark in (None, sweep.benchmark) and protocol in (None, sweep.protocol)
        ]

    def over_trainings(self) -> "StudyTables":
        """The study with means over several trainings in place of single ones, in the tables that have them."""
        tables = {
            name: over_trainings(table) if {"base_seed", "seed"} <= set(table) else table
            for name, table in self.tables.items()
        }
        return replace(self, tables=tables)

    def scored_with(self) -> list[tuple[str, str]]:
        """The pairs (benchmark, protocol) of all tuned checkpoints, sorted."""
        return sorted({(sweep.benchmark, sweep.protocol) for sweep in self.beta_sweeps()})

    def rows(self, table: str, sweep: BetaSweep) -> pd.DataFrame:
        """Rows of a sweep and of its base model. The column ``setting`` is base, β = 0, β = 0.1, …"""
        rows = self[table]
        scored_alike = pd.Series(True, index=rows.index)
        for key in ("model", "base_seed", "benchmark", "protocol"):
            scored_alike &= rows[key] == getattr(sweep, key)
        tuned_alike = pd.Series(True, index=rows.index)
        for key in ("data", "recipe", "seed"):
            tuned_alike &= rows[key] == getattr(sweep, key)
        chosen = rows[scored_alike & (tuned_alike | (rows.data == NONE))].copy()
        chosen["setting"] = [setting_name(beta) for beta in chosen.beta]
        return chosen

    def rows_with_holes(self, table: str, sweep: BetaSweep) -> pd.DataFrame:
        """``rows`` of a table of cells, with a row without values for each cell without a result."""
        rows = self.rows(table, sweep)
        if not len(self.get("holes")):
            return rows
        return pd.concat(
            [rows, self.rows("holes", sweep).drop(columns=["stage", "reason"])], ignore_index=True
        )

    def levels(self) -> dict[str, str]:
        """The resource level of each language of the grid, and of each in which answers are generated."""
        tables = [table for name in ("cells", "holes", "generation") if len(table := self.get(name))]
        return {
            code: level
            for table in tables
            for code, level in zip(table.language, table.resource, strict=True)
            if code != "mean"
        }

    def condition_of(self, sweep: BetaSweep) -> dict[str, str]:
        """What distinguishes a sweep from others of its model and data set: base seed, recipe, seed."""
        keys = self.condition or distinguishing(self["cells"])
        return {key: getattr(sweep, key) for key in keys}

    def with_training_means(self) -> "StudyTables":
        """The study whose table ``cells`` also has the means over several trainings of each language.

        A mean lacks a value if one of its trainings does, so the tables of holes have a row for it then.
        """
        means = self.get("training_means")
        if means.empty:
            return self
        tables = {**self.tables, "cells": pd.concat([self["cells"], means], ignore_index=True)}
        for name in ("holes", "generation_holes"):
            if len(holes := self.get(name)):
                wide = {key: holes[key].where(holes[key] == NONE, ALL) for key in ("base_seed", "seed")}
                lost = [holes, holes.assign(seed=wide["seed"]), holes.assign(**wide)]
                tables[name] = pd.concat(lost).drop_duplicates([*CELL_KEYS], ignore_index=True)
        return replace(self, tables=tables)

    def shown_sweeps(self) -> dict[BetaSweep, BetaSweep]:
        """The sweeps of the means over most trainings, each with the first training that it is the mean over.

        Where there is one training only, the two are the same.
        """
        means = replace(self, tables={"cells": over_trainings(self.with_training_means()["cells"])})
        single, first = self.beta_sweeps(), {}
        for sweep in means.beta_sweeps():
            wider = (("seed", "base_seed"), ("seed",), ())
            parts = [
                one for one in single if sweep in (one._replace(**dict.fromkeys(keys, ALL)) for keys in wider)
            ]
            first[sweep] = parts[0]
        return first

    def by_condition(self) -> list["StudyTables"]:
        """One part of the study for each combination of base seed, recipe and seed that its figures show.

        Those are the means over trainings if there are several. Keys with one value in the whole study are ignored,
        so a study with one combination is returned unchanged. Rows to which a key does not apply are in all parts:
        base models have no recipe and no seed, and models other than the miniature's have no base seed.
        """
        keys = distinguishing(self["cells"])
        if not keys:
            return [self]
        return self._parts(keys, self.shown_sweeps())

    def of_first_trainings(self) -> list["StudyTables"]:
        """``by_condition`` with the first training in place of each mean, for tables without means."""
        keys = distinguishing(self["cells"])
        return self._parts(keys, self.shown_sweeps().values()) if keys else [self]

    def _parts(self, keys: Sequence[str], sweeps: Iterable[BetaSweep]) -> list["StudyTables"]:
        found = {tuple(getattr(sweep, key) for key in keys) for sweep in sweeps}
        combinations = [one for one in sorted(found) if not any(_covers(other, one) for other in found)]
        whole = self.with_training_means()
        return [whole._part(dict(zip(keys, values, strict=True))) for values in combinations]

    def _part(self, condition: Mapping[str, str]) -> "StudyTables":
        tables = {}
        for name, table in self.tables.items():
            chosen = pd.Series(True, index=table.index)
            for key in condition.keys() & set(table.columns):
                chosen &= table[key].isin([condition[key], NONE])
            tables[name] = table[chosen]
        return replace(self, tables=tables, condition=condition)

    def smoothing_contrasts(self, sweep: BetaSweep) -> pd.DataFrame:
        """Differences between the smoothed checkpoints of a sweep and β = 0; empty if not measured."""
        contrasts = self.get("contrasts")
        if contrasts.empty:
            return contrasts
        chosen = contrasts.contrast == "smoothed_minus_unsmoothed"
        for key, value in sweep._asdict().items():
            chosen &= contrasts[key] == value
        return contrasts[chosen]


def untuned_names(rows: pd.DataFrame) -> list[str]:
    """The names of the untuned runs of ``rows``: the model, with its base seed if it has one."""
    pairs = zip(rows.model, rows.base_seed, strict=True)
    return [model if seed == NONE else f"{model}/{seed}" for model, seed in pairs]


def _covers(wide: tuple[str, ...], narrow: tuple[str, ...]) -> bool:
    """Whether the part of the combination ``wide`` contains that of ``narrow`` and further rows."""
    pairs = zip(wide, narrow, strict=True)
    return wide != narrow and all(own == other or other == NONE for own, other in pairs)


def setting_name(beta: str) -> str:
    """The name of a checkpoint within its sweep: base, or β = …"""
    return BASE if beta == NONE else f"β = {beta}"


def setting_names(rows: pd.DataFrame) -> list[str]:
    """The settings that occur in the column ``beta``, in order: base, then ascending β."""
    betas = sorted({beta for beta in rows.beta if beta != NONE}, key=float)
    return [setting_name(beta) for beta in ([NONE] if NONE in set(rows.beta) else []) + betas]


def tuned_setting_names(rows: pd.DataFrame) -> list[str]:
    """``setting_names`` without the base model."""
    return [name for name in setting_names(rows) if name != BASE]


def languages_in_order(rows: pd.DataFrame) -> list[str]:
    """The language codes that occur, by resource level (high first), then by code."""
    levels = dict(zip(rows.language, rows.resource, strict=True))
    return sorted(levels, key=lambda code: (LEVELS.index(levels[code]), code))


def complete_means(rows: pd.DataFrame, by: str, columns: Sequence[str]) -> pd.DataFrame:
    """Means of ``columns`` over the rows of each value of ``by``; NaN if a row has no value."""
    known = rows[list(columns)].notna().groupby(rows[by]).all()
    return rows.groupby(by)[list(columns)].mean().where(known)


def hole_counts(table: pd.DataFrame) -> pd.Series:
    """The number of missing cells of each row of a table over several cells."""
    return table["holes"] if "holes" in table else pd.Series(0, index=table.index)


def distinguishing(rows: pd.DataFrame) -> list[str]:
    """Those of base_seed, recipe and seed in which the checkpoints of ``rows`` differ."""
    return [key for key in CONDITION_KEYS if len(set(rows[key]) - {NONE}) > 1]


def over_trainings(rows: pd.DataFrame) -> pd.DataFrame:
    """For each model and data set, the rows of the mean over most trainings; all rows if there is no mean."""
    keys = [key for key in ("model", "data", "recipe", "benchmark", "protocol") if key in rows]
    chosen = pd.Series(True, index=rows.index)
    for key in ("base_seed", "seed"):
        mean = rows[key] == ALL
        several = (mean & chosen).groupby([rows[name] for name in keys]).transform("any")
        chosen &= mean | ~several
    return rows[chosen]


def without_single_base_seed(table: pd.DataFrame) -> pd.DataFrame:
    """``table`` without the column base_seed, if its base models have only one."""
    return table if "base_seed" in distinguishing(table) else table.drop(columns="base_seed")


def read(folder: Path, languages: Mapping[str, str], diagrams: Sequence[str] = ()) -> StudyTables:
    """The study in ``folder``. ``languages`` maps language codes to English names.

    ``diagrams`` are those of ``StudyTables``.

    Raises StudyError if one of the tables REQUIRED is missing. Others may be absent.
    """
    tables = {path.stem: records.whole(path).to_pandas() for path in sorted(folder.glob("*.parquet"))}
    for name in REQUIRED:
        if name not in tables:
            raise StudyError(f"{folder}: {name}.parquet is missing; run 'polycal measure' first.")
    return StudyTables(tables, languages, diagrams=diagrams)
