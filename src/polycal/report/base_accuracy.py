"""Accuracy before tuning, in each language and group, and where it is not above chance.

A model that guesses has no calibration to lose. So a comparison with a base model counts for a claim only if the
interval of the base model's accuracy is above chance.
"""

import pandas as pd

from polycal.report.english_names import Shares
from polycal.report.study_tables import ALL as MEAN_SEED
from polycal.report.study_tables import StudyTables
from polycal.vocabulary import NONE

KEYS = ["model", "base_seed", "benchmark", "protocol", "language"]
"""What identifies the result of a base model."""
ALL = "all"
"""The group of all questions."""
VALUES = ["n", "accuracy", "accuracy_low", "accuracy_high", "chance", "above_chance"]


def of_base(study: StudyTables) -> pd.DataFrame:
    """The cells of base models."""
    cells = study["cells"]
    return cells[cells.data == NONE]


def at_chance(study: StudyTables, rows: pd.DataFrame) -> pd.Series:
    """For each of ``rows``, which have KEYS, whether its base model is not above chance in its language.

    A mean over several base models (base seed ``all``) is at chance if one of them is. False for means over
    languages, and for rows whose base model was not scored.
    """
    base = of_base(study)
    if "above_chance" not in base:
        return pd.Series(False, index=rows.index)
    guesses = base[~base.above_chance.astype(bool)]
    guesses = pd.concat([guesses, guesses.assign(base_seed=MEAN_SEED)])
    chosen = set(guesses[KEYS].itertuples(index=False, name=None))
    return pd.Series(
        [key in chosen for key in rows[KEYS].itertuples(index=False, name=None)], index=rows.index, dtype=bool
    )


def table(study: StudyTables, shares: Shares) -> pd.DataFrame:
    """One row for each base model, benchmark, protocol, language and group, and group ``all`` for all questions.

    Columns: KEYS, ``group``, VALUES, and ``equal_to_english``, the share of candidates that are spelled as in English.
    Groups have neither ``chance`` nor ``above_chance``.
    """
    parts = [of_base(study).assign(group=ALL)]
    groups = study.get("groups")
    if not groups.empty:
        of_language = groups.language.isin(set(parts[0].language))
        parts.append(groups[(groups.data == NONE) & of_language])
    rows = pd.concat([part.reindex(columns=[*KEYS, "group", *VALUES]) for part in parts], ignore_index=True)
    english = [shares.get(pair) for pair in zip(rows.benchmark, rows.language, strict=True)]
    rows["equal_to_english"] = pd.Series(english, dtype=float)
    return rows.sort_values([*KEYS, "group"], ignore_index=True)
