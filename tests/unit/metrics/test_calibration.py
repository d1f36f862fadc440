import math

import numpy as np
import pytest
from helpers.answers import formula_answers
from hypothesis import given
from hypothesis import strategies as st

from polycal.metrics import calibration


def test_ece_and_rms_of_two_bins_by_hand():
    confidence, correct = [0.2, 0.2, 0.9, 0.9], [0, 1, 1, 1]
    # bin of .2: accuracy .5, gap .3; bin of .9: accuracy 1, gap .1; half of the questions each
    assert calibration.ece(confidence, correct) == pytest.approx(0.2, abs=1e-15)
    assert calibration.rms_calibration_error(confidence, correct) == pytest.approx(
        math.sqrt((0.09 + 0.01) / 2), abs=1e-15
    )


def test_bins_contain_their_upper_edge_and_the_first_contains_zero():
    index = calibration.bin_index(np.array([0.0, 0.1, 0.1 + 1e-12, 0.5, 1.0]), 10)
    assert index.tolist() == [0, 0, 1, 4, 9]


def test_equal_mass_bins_differ_by_at_most_one():
    index = calibration.bin_index(np.random.default_rng(0).random(103), 10, "mass")
    assert set(np.bincount(index)) == {10, 11}


@pytest.mark.parametrize("binning", ["width", "mass"])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_extremes_are_defined(binning, value):
    assert calibration.ece([value], [1.0 - value], binning=binning) == 1.0
    assert calibration.ece([value], [value], binning=binning) == 0.0


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60), st.integers(1, 40))
def test_ece_is_between_the_gap_of_the_means_and_the_rms_error(pairs, bins):
    confidence, correct = [p for p, _ in pairs], [float(y) for _, y in pairs]
    ece = calibration.ece(confidence, correct, bins=bins)
    rms = calibration.rms_calibration_error(confidence, correct, bins=bins)
    gap = abs(np.mean(confidence) - np.mean(correct))
    assert gap - 1e-12 <= ece <= rms + 1e-12 <= 1 + 1e-9
    diagram = calibration.reliability(confidence, correct, bins=bins)
    assert diagram.count.sum() == len(pairs)


def test_one_bin_is_the_gap():
    confidence, correct = np.linspace(0.1, 1, 7), np.array([0, 1, 0, 1, 0, 0, 1.0])
    assert calibration.ece(confidence, correct, bins=1) == pytest.approx(
        abs(confidence.mean() - correct.mean()), abs=1e-15
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: calibration.ece([], []), "not empty"),
        (lambda: calibration.ece([0.5], [0.5]), "correct must be 0 or 1"),
        (lambda: calibration.ece([1.2], [1]), r"lie in \[0, 1\]"),
        (lambda: calibration.ece([math.nan], [1]), r"lie in \[0, 1\]"),
        (lambda: calibration.ece([0.5, 0.5], [1]), "equal in length"),
        (lambda: calibration.ece([0.5], [1], bins=0), "at least 1"),
        (lambda: calibration.ece([0.5], [1], binning="size"), "'width' or 'mass'"),
        (lambda: calibration.rms_calibration_error([0.5], [2]), "correct must be 0 or 1"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# Published values; each case names its source.
TORCHMETRICS_MULTICLASS = ([0.55, 0.55, 0.6, 0.9], [0, 0, 1, 1], 3)
TORCHMETRICS_BINARY = ([0.25, 0.25, 0.55, 0.75, 0.75], [0, 0, 1, 1, 1], 2)


@pytest.mark.parametrize(
    ("case", "l1", "l2"),
    [
        # documentation of torchmetrics' calibration errors, and a run of 1.9.0 in float32
        (TORCHMETRICS_MULTICLASS, 0.2, 0.20816659927368164),
        (TORCHMETRICS_BINARY, 0.29, 0.2918332815170288),
    ],
)
def test_values_of_torchmetrics(case, l1, l2):
    confidence, correct, bins = case
    assert calibration.ece(confidence, correct, bins=bins) == pytest.approx(l1, abs=1e-7)
    assert calibration.rms_calibration_error(confidence, correct, bins=bins) == pytest.approx(l2, abs=1e-7)


def test_torchmetrics_confidences_are_those_of_the_distributions():
    p = np.array([[0.25, 0.2, 0.55], [0.55, 0.05, 0.4], [0.1, 0.3, 0.6], [0.9, 0.05, 0.05]])
    assert p.max(1).tolist() == TORCHMETRICS_MULTICLASS[0]
    assert (p.argmax(1) == [0, 1, 2, 0]).astype(int).tolist() == TORCHMETRICS_MULTICLASS[1]


@pytest.mark.parametrize(
    ("probabilities", "gold", "bins", "l1", "l2"),
    [
        # p-lambda/verified_calibration, calibration/util_test.py
        (
            [[0.8, 0.1, 0.1], [0.6, 0.2, 0.2], [0, 0.9, 0.1], [0, 1, 0], [0.3, 0.3, 0.4], [0.2, 0, 0.85]],
            [0, 0, 1, 1, 0, 2],
            3,
            0.07500000000000002,
            None,
        ),
        (
            [[0.6, 0.3, 0.1]] * 6 + [[0.1, 0.8, 0.1]] * 4 + [[0.1, 0, 0.9]] * 4,
            [0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2],
            15,
            0.14285714285714288,
            0.16402671094904608,
        ),
        ([[0.9, 0.1], [0.8, 0.2]], [0, 0], 15, 0.15, None),
    ],
)
def test_values_of_verified_calibration(probabilities, gold, bins, l1, l2):
    p = np.array(probabilities)
    confidence, correct = p.max(1), p.argmax(1) == gold
    assert calibration.ece(confidence, correct, bins=bins) == pytest.approx(l1, abs=1e-15)
    if l2 is not None:
        assert calibration.rms_calibration_error(confidence, correct, bins=bins) == pytest.approx(
            l2, abs=1e-15
        )


@pytest.mark.parametrize(
    ("confidence", "correct", "bins", "value"),
    [
        # the same file, equal-mass bins
        ([0.1], [1], 1, 0.9),
        ([0.1, 0.7, 0.4], [0, 0, 0], 1, 0.4),
        ([0.1, 0.7], [0, 1], 2, 0.2),
        ([0.1, 0.1, 0.7], [0, 1, 1], 2, 0.4 * 2 / 3 + 0.3 / 3),
        ([0.1, 0.1, 0.1, 0.1, 0.7], [0, 1, 0, 0, 1], 2, 0.15 * 4 / 5 + 0.3 / 5),
        ([0.1, 0.7, 0.5, 0.9], [0, 1, 0, 1], 2, 0.25),
        ([0.1, 0.7, 0.5, 0.9], [0, 1, 1, 1], 4, 0.25),
        ([0.6, 0.7, 0.8, 0.9], [0, 0, 1, 1], 2, 0.4),
    ],
)
def test_equal_mass_values_of_verified_calibration(confidence, correct, bins, value):
    assert calibration.ece(confidence, correct, bins=bins, binning="mass") == pytest.approx(value, abs=1e-15)


@pytest.mark.parametrize(
    ("n", "top", "width", "mass"),
    [
        # uncertainty-calibration 0.1.4 (get_ece with 15 bins, get_ece_em with 10)
        (500, 0.98, 0.17680799999999994, 0.17649999999999996),
        (300, 0.7, 0.1319133333333334, 0.1445),
        (997, 0.999, 0.20205636115970782, 0.1933932393972288),
    ],
)
def test_values_of_uncertainty_calibration(n, top, width, mass):
    pair = formula_answers(n, top)
    assert calibration.ece(*pair) == pytest.approx(width, abs=1e-14)
    assert calibration.ece(*pair, bins=10, binning="mass") == pytest.approx(mass, abs=1e-14)


@pytest.mark.parametrize("correct", [0.0, 1.0])
def test_all_wrong_and_all_correct(correct):
    confidence = np.linspace(0.3, 0.9, 40)
    gap = abs(confidence.mean() - correct)
    for binning in ("width", "mass"):
        assert calibration.ece(confidence, np.full(40, correct), binning=binning) == pytest.approx(
            gap, abs=1e-14
        )


def test_a_confidence_on_an_edge_is_in_the_lower_bin():
    for bins in range(1, 60):
        edges = np.array([k / bins for k in range(1, bins + 1)])
        assert calibration.bin_index(edges, bins).tolist() == list(range(bins))


@given(st.lists(st.sampled_from([0.2, 0.4, 0.5, 0.9, 1.0]), min_size=1, max_size=40), st.randoms())
def test_equal_mass_does_not_depend_on_the_order_of_equal_confidences(confidence, random):
    pairs = [(p, random.random() < 0.5) for p in confidence]
    before = calibration.ece(*zip(*pairs, strict=True), bins=4, binning="mass")
    random.shuffle(pairs)
    assert calibration.ece(*zip(*pairs, strict=True), bins=4, binning="mass") == pytest.approx(
        before, abs=1e-12
    )
