"""Rival cures, conventions and truth as a study shows them, on invented records whose truth is known."""

import pandas as pd
import pytest
from helpers.score_records import LANGUAGES, SETTINGS, study, write_truth
from helpers.stamps import FixedStamp

from polycal.analysis import measure
from polycal.report import page, sensitivity_table, study_tables
from polycal.report.figures import draw

NAMES = {code: code for code in LANGUAGES}
ONE = ("llama", "alpaca", "paper", "42", "mmlu-prox", "texts-0shot")


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    settings = {**SETTINGS, "truth": write_truth(folder / "truth")}
    files = study(folder / "scores")
    measure.measure({"settings": settings}, scores=files, out=folder, stamp=FixedStamp())
    return study_tables.read(folder, NAMES)


def test_every_kind_of_figure_has_a_title_and_a_caption(shown):
    names = sensitivity_table.drawings(shown)
    assert (
        {name.split("-")[0] for name in names}
        == set(sensitivity_table.TITLES)
        == set(sensitivity_table.CAPTIONS)
    )
    assert set(page.TITLES) == set(page.CAPTIONS)


def test_a_study_without_cures_and_truth_has_no_such_figures(shown):
    bare = {name: table for name, table in shown.tables.items() if name not in ("recalibration", "truth")}
    assert sensitivity_table.drawings(study_tables.Study(bare, NAMES)) == {}


def test_means_by_cure_are_those_of_the_table(shown):
    figure = sensitivity_table.cured_means(shown, "mmlu-prox", "texts-0shot")
    [axis] = figure.axes
    cures = shown["recalibration"]
    for line, cure in zip(axis.containers, sensitivity_table.CURES, strict=True):
        rows = cures[(cures.method == cure) & (cures.language == "mean")].set_index("beta")
        assert list(line[0].get_ydata()) == pytest.approx(list(rows.ece[["none", "0", "0.1"]]))
    assert axis.get_ylim()[0] == 0


def test_cures_by_language_show_smoothing_scaling_and_both(shown):
    figure = sensitivity_table.cured_languages(shown, ONE)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    scaled = ", temperature from English"
    assert names == ["β = 0", "β = 0.1", f"β = 0{scaled}", f"β = 0.1{scaled}"]


def test_the_truth_itself_is_the_line_of_chance(shown):
    axis = sensitivity_table.against_truth(shown, "mmlu-prox", "texts-0shot").axes[0]
    truth = shown["truth"]
    drawn, true, chance = axis.lines
    own = truth[truth.model != "truth"].groupby("beta")[["ece", "ece_true"]].mean().loc[["none", "0", "0.1"]]
    assert list(drawn.get_ydata()) == pytest.approx(list(own.ece))
    assert list(true.get_ydata()) == pytest.approx(list(own.ece_true))
    assert chance.get_ydata()[0] == pytest.approx(truth[truth.model == "truth"].ece.mean())


def test_conventions_count_what_the_sensitivity_table_says(shown):
    found = sensitivity_table.conventions(shown).set_index(["Claim", "β"])
    rows = shown["sensitivity"]
    cut = rows[(rows.claim == "smoothing_cuts_ece") & (rows.beta == "0.1")]
    assert found.loc[("Smoothing cuts ECE", "0.1"), "Holds"] == f"{cut.holds.sum()} of {len(cut)}"


def test_a_choice_that_reverses_a_claim_is_named():
    rows = [
        {
            "claim": "smoothing_cuts_ece",
            "beta": "0.1",
            "benchmark": "b",
            "protocol": "texts-0shot",
            "normalise": normalise,
            "binning": "width",
            "bins": bins,
            "weighting": "language",
            "estimate": 0.1 if normalise == "token" else -0.1,
            "holds": normalise == "token",
        }
        for normalise in ("sum", "token", "byte")
        for bins in (10, 15)
        for _ in range(1 if normalise != "token" else 3)
    ]
    [row] = sensitivity_table.conventions(
        study_tables.Study({"sensitivity": pd.DataFrame(rows)}, {})
    ).to_dict("records")
    assert row["Holds"] == "6 of 10"
    assert row["Reversed under"] == "byte log-likelihoods (2 of 2); sum log-likelihoods (2 of 2)"


def test_more_figures_and_tables_are_written_with_the_others(shown, tmp_path):
    made = draw.draw(shown, tmp_path, {"extra": lambda: sensitivity_table.cured_languages(shown, ONE)})
    assert made[-1] == tmp_path / "extra.png"
    assert set(sensitivity_table.tables(shown)) == {"conventions", "claims", "recalibration", "truth"}
