import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycal import calibration as c


def test_ece_and_rms_of_two_bins_by_hand():
    confidence, correct = [0.2, 0.2, 0.9, 0.9], [0, 1, 1, 1]
    # bin of .2: accuracy .5, gap .3; bin of .9: accuracy 1, gap .1; half of the questions each
    assert c.ece(confidence, correct) == pytest.approx(0.2, abs=1e-15)
    assert c.rms_calibration_error(confidence, correct) == pytest.approx(
        math.sqrt((0.09 + 0.01) / 2), abs=1e-15
    )


def test_bins_are_right_closed_and_hold_both_ends():
    index = c.bin_index(np.array([0.0, 0.1, 0.1 + 1e-12, 0.5, 1.0]), 10)
    assert index.tolist() == [0, 0, 1, 4, 9]


def test_equal_mass_bins_differ_by_at_most_one():
    index = c.bin_index(np.random.default_rng(0).random(103), 10, "mass")
    assert set(np.bincount(index)) == {10, 11}


@pytest.mark.parametrize("binning", ["width", "mass"])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_extremes_are_defined(binning, value):
    assert c.ece([value], [1.0 - value], binning=binning) == 1.0
    assert c.ece([value], [value], binning=binning) == 0.0


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60), st.integers(1, 40))
def test_bounds_and_order(pairs, bins):
    confidence, correct = [p for p, _ in pairs], [float(y) for _, y in pairs]
    first, second = (
        c.ece(confidence, correct, bins=bins),
        c.rms_calibration_error(confidence, correct, bins=bins),
    )
    gap = abs(np.mean(confidence) - np.mean(correct))
    assert gap - 1e-12 <= first <= second + 1e-12 <= 1 + 1e-9
    shown = c.reliability(confidence, correct, bins=bins)
    assert shown.count.sum() == len(pairs)


def test_one_bin_is_the_gap():
    confidence, correct = np.linspace(0.1, 1, 7), np.array([0, 1, 0, 1, 0, 0, 1.0])
    assert c.ece(confidence, correct, bins=1) == pytest.approx(
        abs(confidence.mean() - correct.mean()), abs=1e-15
    )


def test_metrics_of_a_uniform_distribution():
    p, gold = np.full((6, 4), 0.25), np.array([0, 1, 2, 3, 0, 0])
    assert c.entropy(p) == pytest.approx(math.log(4), abs=1e-15)
    assert c.entropy(p, normalised=True) == pytest.approx(1.0, abs=1e-15)
    assert c.brier(p, gold) == pytest.approx(0.75, abs=1e-15)
    assert c.nll(p, gold) == pytest.approx(math.log(4), abs=1e-15)
    assert c.accuracy(p, gold) == 0.5


def test_certain_and_wrong():
    p = np.array([[1.0, 0.0]])
    assert c.entropy(p) == 0.0
    assert c.brier(p, np.array([1])) == 2.0
    assert c.nll(p, np.array([1])) == math.inf


def test_options_of_different_number_and_normalisation():
    logprob, tokens, size = [[-1.0, -4.0], [-3.0, -3.0, -6.0]], [[1, 4], [1, 3, 2]], [[2, 8], [3, 6, 6]]
    summed = c.option_probabilities(logprob)
    assert summed[0, 2] == 0.0
    assert summed[0, 0] == pytest.approx(1 / (1 + math.exp(-3)), abs=1e-15)
    token = c.option_probabilities(logprob, "token", option_tokens=tokens)
    assert token[0, 0] == pytest.approx(0.5, abs=1e-15)
    byte = c.option_probabilities(logprob, "byte", option_bytes=size)
    weights = np.exp([-1.0, -0.5, -1.0])
    assert byte[1] == pytest.approx(weights / weights.sum(), abs=1e-15)


def test_probabilities_do_not_overflow():
    assert c.option_probabilities([[-1e5, -1e5 - 1]])[0, 0] == pytest.approx(
        1 / (1 + math.exp(-1)), abs=1e-12
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: c.ece([], []), "not empty"),
        (lambda: c.ece([0.5], [0.5]), "correct must be 0 or 1"),
        (lambda: c.ece([1.2], [1]), r"lie in \[0, 1\]"),
        (lambda: c.ece([math.nan], [1]), r"lie in \[0, 1\]"),
        (lambda: c.ece([0.5, 0.5], [1]), "equal in length"),
        (lambda: c.ece([0.5], [1], bins=0), "at least 1"),
        (lambda: c.ece([0.5], [1], binning="size"), "'width' or 'mass'"),
        (lambda: c.brier([[0.5, 0.4]], [0]), "sums to 0.9"),
        (lambda: c.nll([[0.5, 0.5]], [2]), "lie in 0"),
        (lambda: c.nll([[math.nan, 0.5]], [0]), "finite"),
        (lambda: c.accuracy([[0.5, 0.5]], [0.0]), "integer"),
        (lambda: c.option_probabilities([[-1.0]], "token"), "needs option_tokens"),
        (lambda: c.option_probabilities([[-math.inf, 0.0]]), "not finite"),
        (lambda: c.option_probabilities([]), "at least one"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
