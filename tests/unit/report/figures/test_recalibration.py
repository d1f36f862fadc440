"""Smoothing compared with temperatures."""

import pytest

from polycal.report.figures import recalibration


def test_means_by_method_are_those_of_the_table(study, sweep):
    [axis] = recalibration.mean_ece(study, sweep.benchmark, sweep.protocol).axes
    table = study["recalibration"]
    for line, method in zip(axis.containers, recalibration.METHODS, strict=True):
        rows = table[(table.method == method) & (table.language == "mean")].set_index("beta")
        assert list(line[0].get_ydata()) == pytest.approx(list(rows.ece[["none", "0", "0.1"]]))
    assert axis.get_ylim()[0] == 0


def test_languages_are_shown_smoothed_scaled_and_both(study, sweep):
    figure = recalibration.ece_by_language(study, sweep)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    scaled = ", temperature from English"
    assert names == ["β = 0", "β = 0.1", f"β = 0{scaled}", f"β = 0.1{scaled}"]
