"""Accuracy, gap and ECE by group of questions (such as a subject) and language, for any Score files."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from polycal.analysis import group_tables, run_comparison, summary
from polycal.analysis.group_tables import MEAN, Conventions
from polycal.analysis.score_arrays import ScoredQuestions
from polycal.artifacts import records


def by_group(paths: Sequence[Path], normalise: str | None = None) -> pd.DataFrame:
    """One row per run, benchmark, protocol, language and group, with 95% intervals over its questions.

    Language ``mean`` is the unweighted mean over the languages that have the group, if there are several.
    ``ece_floor`` is the mean ECE of a perfectly calibrated model; groups are small, so it is large. Each
    group is resampled on its own, with the same bootstrap samples in every language and run.

    Raises RecordError or MeasureError if a file cannot be measured.
    """
    cells = {path: records.metadata(path).get("cell") or {} for path in paths}
    rows = [
        {
            "run": run_comparison.run_name(row.condition._asdict()),
            "benchmark": row.condition.benchmark,
            "protocol": row.condition.protocol,
            "language": row.language,
            "normalise": row.normalise,
            "group": row.group,
            "n": row.n,
            **{name: value for name, value in row.values.items() if name != "ece_floor_high"},
        }
        for row in group_tables.measured_groups(
            cells, conventions(lambda questions: summary.normalisation(questions, normalise))
        )
        if row.language != MEAN or row.languages > 1
    ]
    is_mean = [row["language"] == MEAN for row in rows]
    order = ["run", "benchmark", "protocol", "is_mean", "language", "group"]
    table = pd.DataFrame(rows).assign(is_mean=is_mean).sort_values(order)
    return table.drop(columns="is_mean").reset_index(drop=True)


def conventions(normalise: Callable[[ScoredQuestions], str]) -> Conventions:
    """The conventions of ``summary`` and ``run_comparison``; ``normalise`` returns the normalisation of a file."""
    return Conventions(
        bins=summary.DEFAULTS["bins"],
        binning=summary.DEFAULTS["binning"],
        bootstrap_samples=run_comparison.SAMPLES,
        seed=run_comparison.SEED,
        normalise=normalise,
    )
