"""The table of measures of confidence contains the means of the measured table, as texts."""

from polycal.report import confidence_table, main_page
from polycal.report.study_tables import StudyTables


def test_each_checkpoint_has_a_row_for_each_measure(study):
    table = confidence_table.table(study)
    names = confidence_table.MEASURES
    assert list(table.Confidence) == [names["likelihood"], names["agreement"]] * 3
    assert list(table.Setting[::2]) == ["base", "β = 0", "β = 0.1"]
    row = study["confidences"].query(
        "language == 'mean' and resource == 'all' and beta == '0' and measure == 'agreement'"
    )
    [value], [low], [high] = row.auroc, row.auroc_low, row.auroc_high
    assert table.AUROC[3] == f"{value:.3f} [{low:.3f}, {high:.3f}]"
    assert list(table["Rank correlation with likelihood"] == "") == [True, False] * 3


def test_a_mean_that_lacks_a_cell_is_failed(study):
    measured = study["confidences"]
    lost = measured.assign(holes=1, auroc=float("nan"), gap=float("nan"))
    table = confidence_table.table(StudyTables({**study.tables, "confidences": lost}, {}))
    assert set(table.AUROC) == set(table.Gap) == {"failed"}


def test_a_study_of_one_language_has_no_such_part(study):
    bare = StudyTables({**study.tables, "confidences": study["confidences"][:0]}, {})
    assert confidence_table.table(bare).empty
    assert 'id="confidences"' not in main_page.render(bare, "s", [], [], {})
    assert 'id="confidences"' in main_page.render(study, "s", [], [], {})
