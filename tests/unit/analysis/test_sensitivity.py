from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers.measured import measured_cells
from helpers.score_records import SETTINGS, study

from polycal.analysis import sensitivity
from polycal.analysis.cell_metrics import Convention
from polycal.analysis.conditions import Condition


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    return measured_cells(study(tmp_path_factory.mktemp("study")))


@pytest.fixture(scope="module")
def rows(cells):
    return sensitivity.sensitivity_rows(cells)


def test_every_claim_under_every_convention(rows):
    counts = pd.DataFrame(rows, columns=sensitivity.COLUMNS).groupby("claim").size().to_dict()
    unbinned, binned = 3, 3 * 2 * 2
    for claim, count in (
        ("tuning_raises_overconfidence", unbinned),
        ("tuning_raises_ece", binned),
        ("smoothing_cuts_ece", binned),
        ("smoothing_keeps_accuracy", unbinned),
    ):
        assert counts[claim] == 2 * count
        assert counts[f"{claim}_everywhere"] == count


def test_estimates_by_hand(cells, rows):
    convention = ("token", "ece", "width", 15)
    ece = {(one.cell["beta"], one.cell["language"]): one.under_conventions[convention] for one in cells}
    languages = ("de", "en", "hi", "yo")
    before, after = (np.array([ece[beta, name] for name in languages]) for beta in ("0", "0.1"))
    estimates = {
        (row["claim"], row["weighting"]): row["estimate"]
        for row in rows
        if (row["normalise"], row["binning"], row["bins"]) == ("token", "width", 15)
    }
    assert estimates["smoothing_cuts_ece", "language"] == pytest.approx(1 - after.mean() / before.mean())
    least = (1 - after / before).min()
    assert estimates["smoothing_cuts_ece_everywhere", "each"] == pytest.approx(least)

    def level(x):
        return np.mean([x[:2].mean(), x[2], x[3]])  # levels: de and en are high, hi is mid, yo is low

    assert estimates["smoothing_cuts_ece", "level"] == pytest.approx(1 - level(after) / level(before))


def test_claims_count_and_name_the_reversals(rows):
    for claim in sensitivity.claim_rows(rows, SETTINGS):
        members = [row for row in rows if row["claim"] == claim["claim"]]
        against = [row for row in members if not row["holds"]]
        assert claim["conventions"] == len(members)
        assert claim["holds"] == len(members) - len(against)
        named = [part for part in claim["reversed_by"].split("; ") if part]
        assert len(named) == len(set(named)) == len(against)
        assert claim["least"] <= claim["estimate"] <= claim["most"]


def test_a_reversal_is_named_in_words():
    row = {
        **dict.fromkeys(Condition._fields, "x"),
        "protocol": "texts-0shot",
        "normalise": "sum",
        "binning": "mass",
        "bins": 10,
        "weighting": "level",
        "candidates": "texts",
        "claim": "smoothing_cuts_ece",
        "estimate": -0.1,
        "holds": False,
    }
    claims = sensitivity.claim_rows([row], SETTINGS)
    assert claims[0]["reversed_by"] == ("texts-0shot sum 10 bins of equal mass levels weighted equally")
    assert np.isnan(claims[0]["estimate"])


@pytest.mark.parametrize(("loss", "holds"), [(0.004, True), (0.006, False), (-0.2, True)])
def test_accuracy_is_kept_down_to_half_a_point(loss, holds):
    convention = Convention("sum", "accuracy", "none", 0)
    tuned, reference = (
        SimpleNamespace(
            under_conventions={convention: accuracy},
            condition=Condition(*"abcdefgh"),
            resource="high",
            candidates="texts",
        )
        for accuracy in (0.5 - loss, 0.5)
    )
    rows = list(sensitivity.check_claim("smoothing_keeps_accuracy", convention, [tuned], [reference]))
    assert {row["holds"] for row in rows} == {holds}


def test_a_cell_has_a_row_for_each_normalisation_and_one_is_its_own(cells):
    rows = pd.DataFrame(
        sensitivity.normalisation_rows(cells, SETTINGS), columns=sensitivity.NORMALISATION_COLUMNS
    )
    assert len(rows) == 3 * len(cells)
    own = rows[rows.normalise == "token"].reset_index(drop=True)
    for metric in ("accuracy", "gap", "ece"):
        assert own[metric].tolist() == pytest.approx([cell.row[metric] for cell in cells], abs=1e-12)
    byte = rows[rows.normalise == "byte"].reset_index(drop=True)
    assert (byte.gap != own.gap).all()
    other = [*sensitivity.normalisation_rows(cells[:1], {**SETTINGS, "bins": 7})]
    assert np.isnan([row["ece"] for row in other]).all()
