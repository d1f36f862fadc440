"""The best β that keeps accuracy, for each language, on all questions."""

import pandas as pd

from polycal.analysis import beta_rule
from polycal.report import study_holes, study_tables
from polycal.report.study_tables import BetaSweep, StudyTables
from polycal.vocabulary import NONE

MEAN = "mean over languages"


def best_beta(study: StudyTables) -> pd.DataFrame:
    """The β with the lowest ECE that keeps accuracy: one row per sweep and language, the mean last.

    It is chosen by ``beta_rule`` on the questions that it is shown on; the table ``chosen_beta`` evaluates the
    choice on other questions. A sweep without β = 0, or with β = 0 alone, has no row. If a checkpoint has no result in
    a language, the row of that language has no values.

    ``ece_change`` and ``accuracy_change`` against β = 0 have 95% intervals. They do not include the choice of
    the best β, so they are slightly too narrow.
    """
    rows = []
    for sweep in study.beta_sweeps():
        contrasts = study.smoothing_contrasts(sweep)
        for language, settings in by_language(study, sweep):
            tuned = settings[settings.value >= 0]
            if not (tuned.value == 0).any() or len(tuned) < 2:
                continue
            if tuned.ece.isna().any():
                rows.append({**sweep._asdict(), "language": language, "best_beta": study_holes.FAILED})
                continue
            unsmoothed = tuned[tuned.value == 0].iloc[0]
            best = tuned.iloc[int(beta_rule.chosen(tuned.ece.to_numpy(), tuned.accuracy.to_numpy()))]
            rows.append(
                {
                    **sweep._asdict(),
                    "language": language,
                    "best_beta": best.beta,
                    "ece": best.ece,
                    "ece_unsmoothed": unsmoothed.ece,
                    "accuracy": best.accuracy,
                    "accuracy_unsmoothed": unsmoothed.accuracy,
                    **_changes(contrasts, language, best.beta),
                }
            )
    return pd.DataFrame(rows)


def _changes(contrasts: pd.DataFrame, language: str, beta: str) -> dict[str, float]:
    """The changes of ECE and accuracy from β = 0 to ``beta`` with intervals; empty for β = 0.

    ``contrasts`` are the smoothing contrasts of a sweep.
    """
    if beta == "0" or contrasts.empty:
        return {}
    code = "mean" if language == MEAN else language
    contrasts = contrasts[(contrasts.beta == beta) & (contrasts.language == code)]
    columns = {"difference": "change", "low": "change_low", "high": "change_high"}
    changes: dict[str, float] = {}
    for metric in ("ece", "accuracy"):
        for row in contrasts[contrasts.metric == metric].to_dict("records"):
            changes |= {f"{metric}_{name}": row[column] for column, name in columns.items()}
    return changes


def by_language(study: StudyTables, sweep: BetaSweep) -> list[tuple[str, pd.DataFrame]]:
    """The settings of a sweep by ascending β, for each language (by resource level) and for their mean.

    A cell without a result has a row without values. Columns: language, beta, ``value`` (β as a number, -1
    for the base model), accuracy, ece, ece_floor.
    """
    cells, means = study.rows_with_holes("cells", sweep), study.rows("means", sweep)
    overall = means[means.group == "all"].assign(language=MEAN)
    overall["ece_floor"] = overall.beta.map(
        study_tables.complete_means(cells, "beta", ["ece_floor"]).ece_floor
    )
    columns = ["language", "beta", "accuracy", "ece", "ece_floor"]
    rows = pd.concat([cells[columns], overall[columns]])
    rows["value"] = [-1.0 if beta == NONE else float(beta) for beta in rows.beta]
    order = [*study_tables.languages_in_order(cells), MEAN]
    return [(name, rows[rows.language == name].sort_values("value")) for name in order]
