import numpy as np
import pytest
from helpers.score_records import SETTINGS, study

from polycal.analysis import cell_metrics, score_arrays
from polycal.metrics import calibration, probability_scores


def test_wilson_of_published_values():
    # Newcombe 1998, table I, method 3
    low, high = cell_metrics.wilson(np.array([81 / 263, 15 / 148, 0.0, 1 / 29]), np.array([263, 148, 20, 29]))
    assert low == pytest.approx([0.2553, 0.0624, 0.0, 0.0061], abs=5e-5)
    assert high == pytest.approx([0.3662, 0.1605, 0.1611, 0.1718], abs=5e-5)


def test_points_are_the_metrics_under_each_convention(tmp_path):
    found = score_arrays.read(study(tmp_path, 60)[0])
    table = cell_metrics.points(found, SETTINGS["sensitivity"])
    assert len(table) == 3 * (2 + 4)
    p = np.exp(found.log_probabilities("byte"))
    expected = calibration.ece(p.max(1), p.argmax(1) == found.gold, bins=10, binning="mass")
    assert table["byte", "ece", "mass", 10] == expected
    assert table["byte", "accuracy", "none", 0] == probability_scores.accuracy(p, found.gold)


def test_threads_keep_the_order_and_the_values(tmp_path, monkeypatch):
    shared = cell_metrics.Study(study(tmp_path, 40), SETTINGS)
    plain = cell_metrics.side_by_side(shared, len, shared.series())
    monkeypatch.setattr(cell_metrics, "LARGE", 1)
    assert cell_metrics.side_by_side(shared, len, shared.series()) == plain == [4, 4, 4]


def test_equal_mass_can_be_the_studys_convention(tmp_path):
    files = study(tmp_path, 60)
    shared = cell_metrics.Study(files, {**SETTINGS, "binning": "mass"})
    found = score_arrays.read(shared.files[0])
    measured = cell_metrics.measure_cell(shared, found, shared.log_probabilities(found))
    assert measured.row["ece"] == pytest.approx(measured.row["ece_mass"], abs=1e-15)
    assert {row["n"] for row in measured.reliability} == {4}
    assert measured.row["ece_low"] <= measured.row["ece"] <= measured.row["ece_high"]
