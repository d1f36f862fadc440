"""The parts of a study's uncertainty, and the smallest difference that a study of another size can detect."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from polycal.analysis.quantities import MOST_FREEDOM, VarianceParts
from polycal.analysis.trainings import ALL

METRICS = ("accuracy", "gap", "ece")
COLUMNS = ("contrast", "benchmark", "metric", "n", "questions", "interaction", "seeds", "bases")
"""Columns of ``components``; the last four are variances of one training on n questions."""
NORMAL_FROM = 1e4
"""From this number of degrees of freedom on, the normal distribution is used."""


class Design(NamedTuple):
    """The size of a study: questions of a benchmark, tunings (seeds) per base model, and base models."""

    questions: int
    seeds: int
    bases: int


@dataclass(frozen=True)
class Components:
    """Parts of the variance of a difference (mean over languages) of one training on n questions.

    ``questions`` is the part that all trainings share. ``interaction`` is what questions add in each training
    on its own. ``seeds`` and ``bases`` are NaN if the study had only one.
    """

    n: float
    questions: float
    interaction: float
    seeds: float
    bases: float

    def parts(self, design: Design) -> VarianceParts:
        """The parts of the variance of the mean over a study of this size.

        Clusters are the base models if the design has several, otherwise the tunings. An unknown part counts
        as zero.
        """
        scale = self.n / design.questions
        seeds, bases = (0.0 if np.isnan(value) else value for value in (self.seeds, self.bases))
        interaction = self.interaction * scale
        own, clusters = seeds + interaction, design.seeds
        if design.bases > 1:
            own, interaction, clusters = bases + own / design.seeds, interaction / design.seeds, design.bases
        common = self.questions * scale
        return VarianceParts(np.array(common), np.array(own), np.array(interaction), clusters)

    def unknown(self, design: Design) -> str:
        """The part of the variance that a study of this size needs and that is unknown; empty if none is."""
        if design.bases > 1 and np.isnan(self.bases):
            return "bases"
        return "seeds" if design.seeds > 1 and np.isnan(self.seeds) else ""


def components(contrasts: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """The variances of a study from its tables, as medians over models, data and β.

    There is one row per contrast, benchmark and metric, with the columns COLUMNS. ``seeds`` and ``bases`` are
    estimated by the method of moments: the variance between the means, minus what the level below contributes
    to them. If each base model was tuned once, ``bases`` includes the effect of seeds.
    """
    n = cells.groupby("benchmark").n.median().to_dict()
    chosen = contrasts[
        (contrasts.language == "mean") & contrasts.metric.isin(METRICS) & contrasts.question_variance.notna()
    ]
    rows = []
    for names, group in chosen.groupby(list(COLUMNS[:3])):
        several = group[group.seed == ALL]
        over_bases, over_seeds = several[several.base_seed == ALL], several[several.base_seed != ALL]
        single = group[group.seed != ALL]
        known = over_seeds if len(over_seeds) else over_bases if len(over_bases) else None
        questions = known if known is not None else single
        seeds = _excess(over_seeds)
        rows.append(
            {
                **dict(zip(COLUMNS, names, strict=False)),
                "n": float(n[names[1]]),
                "questions": float(questions.question_variance.median()),
                "interaction": 0.0 if known is None else float(known.interaction_variance.median()),
                "seeds": seeds,
                "bases": _between_bases(over_bases, over_seeds),
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _excess(rows: pd.DataFrame) -> float:
    """The median variance between trainings, without the interaction with questions."""
    return float((rows.training_variance - rows.interaction_variance).median()) if len(rows) else float("nan")


def _between_bases(over_bases: pd.DataFrame, over_seeds: pd.DataFrame) -> float:
    """The variance between base models, without what the tunings contribute to their means."""
    if over_bases.empty:
        return float("nan")
    left = 0.0
    if len(over_seeds):
        left = _excess(over_seeds) / float(over_seeds.trainings.median())
    return max(_excess(over_bases) - left, 0.0)


def shares(found: Components) -> dict[str, float]:
    """The shares of questions, seeds and bases in the variance of one training; NaN for an unknown part."""
    parts = {
        "questions": found.questions + found.interaction,
        "seeds": found.seeds,
        "bases": found.bases,
    }
    total = sum(value for value in parts.values() if not np.isnan(value))
    return {name: value / total if total > 0 else float("nan") for name, value in parts.items()}


def smallest_difference(found: Components, design: Design, power: float = 0.8, level: float = 0.95) -> float:
    """The difference whose ``level`` interval excludes zero in the share ``power`` of studies of this size.

    It uses the noncentral t distribution with the degrees of freedom of ``VarianceParts`` (Johnson, Kotz &
    Balakrishnan 1995, chapter 31). For a study of one training only the variance over questions counts.
    """
    parts = found.parts(design)
    tail = (1 + level) / 2
    deviation = float(np.sqrt(parts.of_mean))
    freedom = float(parts.freedom) if parts.clusters > 1 else MOST_FREEDOM
    if parts.clusters < 2:
        deviation = float(np.sqrt(parts.common + parts.interaction))
    if freedom >= NORMAL_FROM:
        return float(special.ndtri(tail) + special.ndtri(power)) * deviation
    return float(special.nctdtrinc(freedom, 1 - power, special.stdtrit(freedom, tail))) * deviation


def of_rows(rows: pd.DataFrame) -> list[tuple[dict[str, str], Components]]:
    """The names and the Components of each row of ``components``."""
    return [
        (
            {name: str(row[name]) for name in COLUMNS[:3]},
            Components(*(float(row[name]) for name in COLUMNS[3:])),
        )
        for row in rows.to_dict("records")
    ]
