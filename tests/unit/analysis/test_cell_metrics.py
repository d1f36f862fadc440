import numpy as np
import pytest
from helpers.measured import measured_cell
from helpers.score_records import SETTINGS, study

from polycal.analysis import cell_metrics, score_arrays
from polycal.analysis.score_set import ScoreSet
from polycal.metrics import calibration, probability_scores


def test_metrics_under_each_convention_are_those_of_calibration(tmp_path):
    questions = score_arrays.read(study(tmp_path, 60)[0])
    values = cell_metrics.metrics_under_conventions(questions, SETTINGS["sensitivity"])
    assert len(values) == 3 * (2 + 4)
    p = np.exp(questions.log_probabilities("byte"))
    expected = calibration.ece(p.max(1), p.argmax(1) == questions.gold, bins=10, binning="mass")
    assert values["byte", "ece", "mass", 10] == expected
    assert values["byte", "accuracy", "none", 0] == probability_scores.accuracy(p, questions.gold)


def test_equal_mass_can_be_the_studys_convention(tmp_path):
    score_set = ScoreSet(study(tmp_path, 60), {**SETTINGS, "binning": "mass"})
    cell = measured_cell(score_set, score_set.files[0])
    assert cell.row["ece"] == pytest.approx(cell.diagnostics["ece_mass"], abs=1e-15)
    assert {row["n"] for row in cell.reliability} == {4}
    assert cell.row["ece_low"] <= cell.row["ece"] <= cell.row["ece_high"]
