"""The sentences about untuned runs count what the tables hold."""

import pandas as pd

from polycal.report import run_answer
from polycal.report.study_tables import StudyTables


def test_each_run_and_each_pair_has_a_sentence(runs_study):
    large, small, pair = run_answer.answer(runs_study)
    cells = runs_study["cells"].query("model == 'large'")
    assert large.sentence == (
        f"large on mmlu-prox (texts-0shot) is over-confident in {(cells.gap_low > 0).sum()} of 3 languages and"
        f" under-confident in {(cells.gap_high < 0).sum()}, beyond chance."
    )
    [mean] = runs_study["means"].query("model == 'large' and group == 'all'").to_dict("records")
    assert f"ECE: {mean['ece']:.3f} [{mean['ece_low']:.3f}, {mean['ece_high']:.3f}]" in large.numbers
    assert f"in {(cells.ece <= cells.ece_floor_high).sum()} of 3 languages" in large.numbers
    assert f"{cells.gap.max():+.3f}" in large.numbers
    assert small.sentence.startswith("small on")
    rows = runs_study["contrasts"].query("model == 'small' and reference == 'large' and metric == 'ece'")
    certain = rows[(rows.language != "mean") & (rows.q < 0.05)]
    assert f"is lower in {(certain.difference < 0).sum()} of 3 languages" in pair.sentence
    assert pair.sentence.startswith("Compared with large on the same questions, the ECE of small")
    [mean] = rows[rows.language == "mean"].to_dict("records")
    assert f"{mean['difference']:+.3f} [{mean['low']:+.3f}, {mean['high']:+.3f}]" in pair.numbers


def test_many_pairs_are_left_to_the_explorer(runs_study):
    tables = {
        name: pd.concat([table.assign(model=f"m{number}") for number in range(4)])
        for name, table in runs_study.tables.items()
        if name in ("cells", "means")
    }
    statements = run_answer.answer(StudyTables({**runs_study.tables, **tables}, {}))
    assert len(statements) == 4


def test_models_that_are_the_base_of_tuned_ones_are_left_out(study):
    assert run_answer.answer(study) == []
