"""The answer of a study in a few sentences with intervals, and what a reader must be careful about."""

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from polycal.report import study_tables
from polycal.report.findings import PUBLISHED_BETA
from polycal.report.study_tables import StudyTables
from polycal.vocabulary import NONE

FEW_QUESTIONS = 100
"""If a language has fewer questions than this, the page starts with a warning."""


class Statement(NamedTuple):
    """A short sentence, and the values behind it."""

    sentence: str
    numbers: str


class Extremes(NamedTuple):
    """The least and the greatest of several estimates, as texts with 95% interval, model and data set."""

    least: str
    most: str


def answer(study: StudyTables) -> list[Statement]:
    """What tuning, smoothing and a temperature changed; empty for a study without tuned checkpoints.

    A comparison is one model and data set (recipe) on one benchmark and protocol, as a mean over languages and over all
    trainings, whose intervals include the choice of the trainings. Comparisons with a missing cell are left out.
    """
    return [*_tuning(study), *_smoothing(study), *_temperature(study)]


def _means(study: StudyTables, contrast: str, metric: str) -> pd.DataFrame:
    """The contrasts of means over languages, without those that lack a cell."""
    table = study.get("contrasts")
    if table.empty:
        return table
    rows = table[(table.contrast == contrast) & (table.metric == metric) & (table.language == "mean")]
    return study_tables.over_trainings(rows).dropna(subset=["difference"])


def _tuning(study: StudyTables) -> Iterator[Statement]:
    rows = _means(study, "tuned_minus_base", "gap")
    rows = rows[rows.beta == "0"] if len(rows) else rows
    if rows.empty:
        return
    certain, values = int((rows.low > 0).sum()), _extremes(rows, "difference", "low", "high", "+.3f")
    several = f"{rows.difference.mean():+.3f} on average: least by {values.least}, most by {values.most}"
    if len(rows) > 1:
        sentence = f"made models more over-confident in {certain or 'none'} of {_comparisons(rows)}."
    elif certain:
        sentence = "made the model more over-confident."
    else:
        sentence = "did not make the model more over-confident beyond chance."
    yield Statement(
        f"Tuning without smoothing {sentence}",
        "Confidence minus accuracy, mean over languages, changed by"
        f" {several if len(rows) > 1 else values.least}.",
    )


def _smoothing(study: StudyTables) -> Iterator[Statement]:
    """The effect of the paper's β, or of the smallest β of the study."""
    ece = _means(study, "smoothed_minus_unsmoothed", "ece")
    betas = sorted(set(ece.beta) if len(ece) else (), key=float)
    if not betas:
        return
    beta = PUBLISHED_BETA if PUBLISHED_BETA in betas else betas[0]
    ece = ece[ece.beta == beta]
    accuracy = _means(study, "smoothed_minus_unsmoothed", "accuracy")
    accuracy = accuracy[accuracy.beta == beta]
    fell, rose = int((ece.high < 0).sum()), int((ece.low > 0).sum())
    values = _extremes(ece, "difference", "low", "high", "+.3f")
    changed = _extremes(accuracy, "difference", "low", "high", "+.3f")
    several = f"{ece.difference.mean():+.3f} on average: from {values.least} to {values.most}"
    between = f"between {changed.least} and {changed.most}"
    if len(ece) > 1:
        sentence = (
            f"lowered ECE beyond chance in {fell or 'none'} of {_comparisons(ece)}, and raised it in"
            f" {rose or 'none'}."
        )
    elif fell or rose:
        sentence = f"{'lowered' if fell else 'raised'} ECE beyond chance."
    else:
        sentence = "did not change ECE beyond chance."
    yield Statement(
        f"Smoothing with β = {beta} {sentence}",
        f"ECE, mean over languages, changed by {several if len(ece) > 1 else values.least}. Accuracy changed by"
        f" {between if len(accuracy) > 1 else changed.least}.",
    )


def _temperature(study: StudyTables) -> Iterator[Statement]:
    """The effect of one temperature fitted on English."""
    table = study.get("recalibration")
    if table.empty:
        return
    rows = table[(table.language == "mean") & (table.method == "english") & (table.beta == "0")]
    rows = study_tables.over_trainings(rows).dropna(subset=["relative_ece_reduction"])
    if rows.empty:
        return
    name = "relative_ece_reduction"
    values = _extremes(rows, name, f"{name}_low", f"{name}_high", ".0%")
    cut = f"between {values.least} and {values.most}" if len(rows) > 1 else values.least
    mean = rows.relative_ece_reduction.mean()
    yield Statement(
        "For comparison: one temperature, fitted on English questions after training,"
        f" {'lowered' if mean >= 0 else 'raised'} the ECE of the same unsmoothed models by {abs(mean):.0%}"
        f"{' on average' if len(rows) > 1 else ''}.",
        f"The cut is {cut}, on the questions that were not used to fit it.",
    )


def _comparisons(rows: pd.DataFrame) -> str:
    """The number of comparisons and what they are over: 12 comparisons (3 models, 2 data sets)."""
    counted = {
        "model": rows.model.nunique(),
        "data set": rows.data.nunique(),
        "benchmark": rows.benchmark.nunique(),
        "protocol": rows.protocol.nunique(),
    }
    over = ", ".join(f"{n} {name}{'s' if n > 1 else ''}" for name, n in counted.items() if n > 1)
    plural = "s" if len(rows) > 1 else ""
    return f"{len(rows)} comparison{plural}" + (f" ({over})" if over else "")


def _extremes(rows: pd.DataFrame, value: str, low: str, high: str, form: str) -> Extremes:
    ordered = rows.sort_values(value)
    texts = [
        f"{row[value]:{form}} [{row[low]:{form}}, {row[high]:{form}}] ({row['model']} on {row['data']})"
        for row in (ordered.iloc[0].to_dict(), ordered.iloc[-1].to_dict())
    ]
    return Extremes(*texts)


def cautions(study: StudyTables) -> list[str]:
    """What to be careful about, the most serious first."""
    cells = study["cells"]
    return [text for text in (_few(cells), _seeds(cells), _floor(cells), _at_chance(cells)) if text]


def _few(cells: pd.DataFrame) -> str:
    fewest = int(cells.n.min()) if len(cells) else 0
    if not 0 < fewest < FEW_QUESTIONS:
        return ""
    return (
        f"A benchmark has only {fewest} questions in a language. With fewer than {FEW_QUESTIONS}, intervals are wide,"
        " a temperature is fitted on very few questions, and the verdicts below mean little."
    )


def _seeds(cells: pd.DataFrame) -> str:
    tuned = cells[cells.data != NONE]
    if tuned.empty:
        return ""
    seeds, bases = sorted(set(tuned.seed)), set(tuned.base_seed)
    if len(seeds) == len(bases) == 1:
        return (
            f"Every model was trained once (seed {seeds[0]}). Intervals cover the choice of questions, not another"
            " training, which can change a result by more."
        )
    times = f"with {len(seeds)} seeds" if len(seeds) > 1 else "once"
    trained = (
        f"built {len(bases)} times, and each of these was tuned {times}"
        if len(bases) > 1
        else f"tuned {times}"
    )
    return (
        f"Every model was {trained}. The sentences above, the claims and most figures are about the means over these"
        " trainings, and their intervals include the choice of them. An interval of a single training covers the choice"
        " of questions only."
    )


def _floor(cells: pd.DataFrame) -> str:
    floors = cells.ece_floor.dropna()
    if floors.empty:
        return ""
    return (
        f"A perfectly calibrated model would not have an ECE of 0 here but of {floors.min():.3f} to {floors.max():.3f},"
        " by chance alone. Compare every ECE with this noise floor."
    )


def _at_chance(cells: pd.DataFrame) -> str:
    at_chance = int((~cells.above_chance.astype(bool)).sum()) if "above_chance" in cells else 0
    if not at_chance:
        return ""
    return (
        f"In {at_chance} of {len(cells)} cells accuracy is not distinguishable from guessing. Ignore the calibration of"
        " these."
    )
