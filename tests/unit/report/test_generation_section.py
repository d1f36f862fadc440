"""The table of measures of confidence in generated answers has the values of the table that was measured."""

import pytest

from polycal.report import generation_section, main_page, study_holes
from polycal.report.study_tables import StudyTables


@pytest.fixture(scope="module")
def measured(generation_tables):
    return generation_tables["generation"]


def test_each_checkpoint_has_a_row_for_each_measure_with_means_over_languages(measured):
    table = generation_section.table(StudyTables({"generation": measured}, {}))
    names = list(generation_section.MEASURES.values())
    assert list(zip(table.Setting, table.Confidence, strict=True)) == [
        (setting, name) for setting in ("base", "β = 0", "β = 0.1") for name in names
    ]
    means = measured[(measured.language == "mean") & (measured.resource == "all")]
    [tuned] = means[(means.beta == "0") & (means.measure == "entropy")].to_dict("records")
    [shown] = table[(table.Setting == "β = 0") & (table.Confidence == "exp(−semantic entropy)")].to_dict(
        "records"
    )
    assert shown["Gap"] == f"{tuned['gap']:+.3f} [{tuned['gap_low']:+.3f}, {tuned['gap_high']:+.3f}]"
    assert shown["AUROC"] == f"{tuned['auroc']:.3f} [{tuned['auroc_low']:.3f}, {tuned['auroc_high']:.3f}]"


def test_a_benchmark_in_one_language_is_shown_in_it_and_a_mean_that_lacks_one_is_failed(measured):
    english = measured[measured.language == "en"]
    table = generation_section.table(StudyTables({"generation": english}, {}))
    assert len(table) == len(english)
    [first] = english[(english.beta == "none") & (english.measure == "cluster_share")].accuracy
    assert table.Accuracy[0].startswith(f"{first:.3f} [")
    metrics = [f"{name}{end}" for name in generation_section.METRICS for end in ("", "_low", "_high")]
    lost = measured.assign(holes=1, **dict.fromkeys(metrics, float("nan")))
    table = generation_section.table(StudyTables({"generation": lost}, {}))
    titles = [title for title, _ in generation_section.METRICS.values()]
    assert (table[titles] == study_holes.FAILED).all(axis=None)


def test_the_changes_are_those_that_were_measured_for_each_contrast(generation_tables):
    study = StudyTables(generation_tables, {})
    changes = generation_section.changes(study)
    tuned, smoothed = changes.values()
    assert list(changes) == ["Tuned minus base, generated answers", "β minus β = 0, generated answers"]
    names = list(generation_section.MEASURES.values())
    assert list(zip(tuned.Setting, tuned.Confidence, strict=True)) == [
        (setting, name) for setting in ("β = 0", "β = 0.1") for name in names
    ]
    assert list(smoothed.Setting) == ["β = 0.1"] * len(names)
    rows = generation_tables["generation_contrasts"].query(
        "contrast == 'smoothed_minus_unsmoothed' and language == 'mean' and resource == 'all'"
    )
    [row] = rows[rows.measure == "likelihood"].to_dict("records")
    [shown] = smoothed[smoothed.Confidence == generation_section.MEASURES["likelihood"]].to_dict("records")
    for metric, title in {"gap": "Δ Gap", "ece": "Δ ECE", "auarc": "Δ AUARC"}.items():
        assert (
            shown[title] == f"{row[metric]:+.3f} [{row[f'{metric}_low']:+.3f}, {row[f'{metric}_high']:+.3f}]"
        )
    claims = generation_section.claims(study)
    assert set(claims.Confidence) == set(names)
    of_likelihood = claims[claims.Confidence == generation_section.MEASURES["likelihood"]]
    gap = of_likelihood.query("Claim == 'Smoothing lowers confidence minus accuracy'")
    assert gap.Holds.item() == f"{int(row['gap'] < 0)} of 1"
    assert gap["Languages, surely"].item().endswith(" of 2")
    assert generation_section.changes(StudyTables({"generation": generation_tables["generation"]}, {})) == {}


def test_the_page_shows_the_answers_and_what_changes_in_them(generated_study):
    page = main_page.render(generated_study, "s", [], [], {})
    assert "How far can confidence in generated answers be trusted?" in page
    for title in (
        "Tuned minus base, generated answers",
        "Claims by measure of confidence, generated answers",
    ):
        assert title in page
