"""What each figure draws: the rows and columns of a study's tables, and nothing else.

A figure is drawn from these rows and columns only. If they are the same as in an earlier study, so is the figure.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from polycal.report.figures import calibration, known_truth, measures, probes, recalibration, runs, tradeoff
from polycal.report.study_tables import BetaSweep, StudyTables

VALUES: Mapping[Callable[..., Figure], Mapping[str, tuple[str, ...]]] = {
    calibration.overview: {"cells": ("gap",)},
    calibration.confidence_and_accuracy: {"cells": ("accuracy", "confidence")},
    calibration.ece_by_language: {"cells": ("ece", "ece_floor")},
    calibration.reliability: {
        "cells": ("ece",),
        "reliability": ("low", "high", "confidence", "accuracy"),
    },
    tradeoff.mean_ece_and_accuracy: {"cells": ("ece_floor",), "means": ("accuracy", "ece")},
    tradeoff.ece_and_accuracy: {"cells": ("accuracy", "ece", "ece_floor"), "means": ("accuracy", "ece")},
    recalibration.mean_ece: {"cells": ("ece_floor",), "recalibration": ("ece",)},
    recalibration.ece_by_language: {"recalibration": ("ece",)},
    known_truth.against_truth: {"truth": ("ece", "ece_true")},
    measures.gap_by_language: {"confidences": ("gap",), "generation": ("gap",)},
    measures.auroc_by_level: {"confidences": ("auroc",), "generation": ("auroc",)},
    runs.gap_by_language: {"cells": ("gap",)},
    runs.ece_by_language: {"cells": ("ece", "ece_floor")},
    runs.reliability: {
        "cells": ("ece", "gap"),
        "reliability": ("low", "high", "confidence", "accuracy"),
    },
    probes.diversity: {"cells": ("ece",), "diversity": ("smallest_shrunk",)},
    probes.next_tokens: {"next_token": ("ece", "gap")},
    probes.ablation: {"cells": ("gap",)},
}
"""The measured values that each function draws, by table. The ends of their intervals are included.

Columns of other types than float, such as names and numbers of questions, are in every table.
"""
ALWAYS = ("cells", "holes")
"""Tables that every figure gets, because they list the cells of the study."""
DECIMALS = 12
"""Decimals of the values that are drawn. The last digits of an interval may depend on settings of other values."""


def of_sweep(study: StudyTables, function: Callable[..., Figure], sweep: BetaSweep) -> StudyTables:
    """What ``function`` draws of a sweep: the rows of its checkpoints and of its base model."""
    tables = {
        name: _columns(study.rows(name, sweep).drop(columns="setting"), values)
        for name, values in _declared(study, function).items()
    }
    part = replace(study, tables=tables, condition=study.condition_of(sweep), diagrams=())
    return _with_own_languages(part)


def of_benchmark(study: StudyTables, function: Callable[..., Figure], benchmark: str) -> StudyTables:
    """What ``function`` draws of a benchmark, or of held-out conversations."""
    tables = {
        name: _columns(study[name][study[name].benchmark == benchmark], values)
        for name, values in _declared(study, function).items()
    }
    return _with_own_languages(replace(study, tables=tables, diagrams=()))


def _declared(study: StudyTables, function: Callable[..., Figure]) -> dict[str, tuple[str, ...]]:
    """The tables that ``function`` draws, as far as the study has them, with the values."""
    declared = {**dict.fromkeys(ALWAYS, ()), **VALUES[function]}
    return {name: values for name, values in declared.items() if len(study.get(name)) or name == "cells"}


def _columns(rows: pd.DataFrame, values: tuple[str, ...]) -> pd.DataFrame:
    """The columns of ``values``, rounded to DECIMALS, and all that are not of type float."""
    kept = {f"{value}{end}" for value in values for end in ("", "_low", "_high")}
    kept |= set(rows.select_dtypes(exclude="float").columns)
    return rows[[name for name in rows if name in kept]].round(DECIMALS)


def _with_own_languages(study: StudyTables) -> StudyTables:
    """The study with the names of its own languages, and of languages that are called the same."""
    codes = {code for table in study.tables.values() if "language" in table for code in table.language}
    names = {study.language_name(code) for code in codes}
    named = {code: name for code, name in study.languages.items() if name in names}
    return replace(study, languages=named)
