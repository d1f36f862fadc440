import numpy as np
import pandas as pd
import pytest
from helpers.score_records import SETTINGS, study

from polycal.analysis import cell_metrics, score_arrays, sensitivity


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    shared = cell_metrics.Study(study(tmp_path_factory.mktemp("study")), SETTINGS)
    measured = []
    for path in shared.files:
        source = score_arrays.read(path)
        measured.append(cell_metrics.measure_cell(shared, source, shared.log_probabilities(source)))
    rows = sensitivity.rows(measured)
    return measured, rows, sensitivity.claims(rows, SETTINGS)


def test_every_claim_under_every_convention(found):
    rows = pd.DataFrame(found[1], columns=sensitivity.COLUMNS)
    counts = rows.groupby("claim").size().to_dict()
    unbinned, binned = 3, 3 * 2 * 2
    for claim, count in (
        ("tuning_raises_overconfidence", unbinned),
        ("tuning_raises_ece", binned),
        ("smoothing_cuts_ece", binned),
        ("smoothing_keeps_accuracy", unbinned),
    ):
        assert counts[claim] == 2 * count
        assert counts[f"{claim}_everywhere"] == count


def test_estimates_by_hand(found):
    measured, rows, _ = found
    convention = ("token", "ece", "width", 15)
    ece = {(one.cell["beta"], one.cell["language"]): one.points[convention] for one in measured}
    languages = ("de", "en", "hi", "yo")
    before, after = (np.array([ece[beta, name] for name in languages]) for beta in ("0", "0.1"))
    kept = {
        (row["claim"], row["weighting"]): row["estimate"]
        for row in rows
        if (row["normalise"], row["binning"], row["bins"]) == ("token", "width", 15)
    }
    assert kept["smoothing_cuts_ece", "language"] == pytest.approx(1 - after.mean() / before.mean())
    least = (1 - after / before).min()
    assert kept["smoothing_cuts_ece_everywhere", "each"] == pytest.approx(least)

    def level(x):
        return np.mean([x[:2].mean(), x[2], x[3]])  # de and en are high, hi mid, yo low

    assert kept["smoothing_cuts_ece", "level"] == pytest.approx(1 - level(after) / level(before))


def test_claims_count_and_name_the_reversals(found):
    _, rows, claims = found
    for claim in claims:
        members = [row for row in rows if row["claim"] == claim["claim"]]
        against = [row for row in members if not row["holds"]]
        assert claim["conventions"] == len(members)
        assert claim["holds"] == len(members) - len(against)
        named = [part for part in claim["reversed_by"].split("; ") if part]
        assert len(named) == len(set(named)) == len(against)
        assert claim["least"] <= claim["estimate"] <= claim["most"]


def test_a_reversal_is_named_in_words():
    row = {
        "protocol": "texts-0shot",
        "normalise": "sum",
        "binning": "mass",
        "bins": 10,
        "weighting": "level",
        "candidates": "texts",
        "claim": "smoothing_cuts_ece",
        "estimate": -0.1,
        "holds": False,
        **dict.fromkeys(("model", "data", "recipe", "beta", "seed", "benchmark"), "x"),
    }
    found = sensitivity.claims([row], SETTINGS)
    assert found[0]["reversed_by"] == ("texts-0shot sum 10 bins of equal mass levels weighted equally")
    assert np.isnan(found[0]["estimate"])


def test_accuracy_is_kept_down_to_half_a_point():
    def one(value):
        return type("Cell", (), {"points": {}, "resource": "high", "cell": {}, "candidates": "texts"}), value

    for loss, holds in ((0.004, True), (0.006, False), (-0.2, True)):
        convention = ("sum", "accuracy", "none", 0)
        sides = []
        for value in (0.5 - loss, 0.5):
            side = one(value)[0]
            side.points = {convention: value}
            side.cell = dict.fromkeys(score_arrays.CELL, "x")
            sides.append([side])
        rows = list(sensitivity._claim("smoothing_keeps_accuracy", convention, *sides))
        assert {row["holds"] for row in rows} == {holds}
