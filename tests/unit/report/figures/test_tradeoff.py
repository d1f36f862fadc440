"""ECE against accuracy as β rises."""

import pytest

from polycal.report import best_beta
from polycal.report.figures import tradeoff


def test_there_is_a_panel_per_language_and_one_for_the_mean(study, sweep):
    figure = tradeoff.ece_and_accuracy(study, sweep)
    titles = [axis.get_title() for axis in figure.axes if axis.get_visible()]
    assert titles == ["German", "English", "Hindi", "Yorùbá <b>", best_beta.MEAN]
    rows = study["cells"].query("language == 'en' and beta != 'none'").sort_values("beta")
    english = figure.axes[1]
    expected = rows[["accuracy", "ece"]].to_numpy().ravel()
    assert english.lines[0].get_xydata().ravel().tolist() == pytest.approx(expected)
    # every panel shows the base model and two tuned settings
    assert [len(axis.collections[0].get_offsets()) for axis in figure.axes[:5]] == [3] * 5


def test_the_means_are_those_of_the_table(study, sweep):
    [axis] = tradeoff.mean_ece_and_accuracy(study, sweep.benchmark, sweep.protocol).axes
    means = study["means"].query("group == 'all' and beta != 'none'").sort_values("beta")
    expected = means[["accuracy", "ece"]].to_numpy().ravel()
    assert axis.lines[0].get_xydata().ravel().tolist() == pytest.approx(expected)
    assert axis.get_ylim()[0] == 0
