"""Tables by group of questions: values with intervals, and marks for few questions and for chance."""

import pandas as pd

from polycal.report import group_table
from polycal.report.study_tables import StudyTables


def test_each_group_has_its_values_with_intervals(runs_study):
    [part] = group_table.by_benchmark(runs_study)
    table = part["table"].set_index("Group")
    assert part["name"] == "mmlu-prox, texts-0shot"
    assert part["file"] == "tables/mmlu-prox-groups.csv"
    assert list(table.index) == ["art", "law"]
    rows = runs_study["groups"].query("model == 'large' and language == 'mean'").set_index("group")
    for group, row in rows.iterrows():
        assert table["Gap, large"][group] == f"{row.gap:+.2f} [{row.gap_low:+.2f}, {row.gap_high:+.2f}]"
        marked = f"{row.ece:.2f} [{row.ece_low:.2f}, {row.ece_high:.2f}]"
        marked += " chance" if row.ece <= row.ece_floor_high else ""
        assert table["ECE, large"][group] == marked
    assert set(table["Questions"]) == {"30 (few)"}


def test_an_ece_at_the_floor_is_marked(runs_study):
    groups = runs_study["groups"]
    for floor, mark in ((1.0, True), (0.0, False)):
        changed = StudyTables(
            {**runs_study.tables, "groups": groups.assign(ece_floor_high=floor, n=3000)}, {}
        )
        table = next(iter(group_table.by_benchmark(changed)))["table"]
        assert table["ECE, small"].str.endswith(group_table.CHANCE).eq(mark).all()
        assert set(table["Questions"]) == {"1000"}


def test_a_study_has_means_over_its_checkpoints_and_marks_what_failed(study):
    rows = (
        study["means"]
        .query("group == 'all'")
        .assign(language="mean", n=400, ece_floor=0.0, ece_floor_high=0.0)
    )
    groups = pd.concat([rows.assign(group=name) for name in ("art", "law")])
    other = groups[groups.beta == "0.1"].assign(data="tulu", ece=float("nan"))
    [part] = group_table.by_benchmark(StudyTables({**study.tables, "groups": pd.concat([groups, other])}, {}))
    table = part["table"]
    assert [name for name in table if name.startswith("ECE")] == ["ECE, base", "ECE, β = 0", "ECE, β = 0.1"]
    assert set(table["ECE, β = 0.1"]) == {"failed"}
    assert table["Gap, β = 0.1"].str.contains(r" \(.* to .*\)$").all()


def test_one_group_is_no_table(runs_study):
    groups = runs_study["groups"].query("group == 'art'")
    single = StudyTables({**runs_study.tables, "groups": groups}, {})
    assert list(group_table.by_benchmark(single)) == []
    assert group_table.tables(single) == {}
    assert group_table.tables(StudyTables({}, {})) == {}


def test_the_file_has_every_group_in_every_language(runs_study):
    [(name, table)] = group_table.tables(runs_study).items()
    assert name == "mmlu-prox-groups"
    assert len(table) == len(runs_study["groups"])
    assert set(table.language) == {"de", "en", "gsw", "mean"}
