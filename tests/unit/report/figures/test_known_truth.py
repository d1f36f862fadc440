"""ECE against the true distribution of answers."""

import pytest

from polycal.report.figures import known_truth


def test_the_true_distribution_is_the_line_of_chance(study, sweep):
    axis = known_truth.against_truth(study, sweep.benchmark, sweep.protocol).axes[0]
    truth = study["truth"]
    answers, probabilities, chance = axis.lines
    own = truth[truth.model != "truth"].groupby("beta")[["ece", "ece_true"]].mean().loc[["none", "0", "0.1"]]
    assert list(answers.get_ydata()) == pytest.approx(list(own.ece))
    assert list(probabilities.get_ydata()) == pytest.approx(list(own.ece_true))
    assert chance.get_ydata()[0] == pytest.approx(truth[truth.model == "truth"].ece.mean())
