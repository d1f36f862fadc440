import math

import numpy as np
import pytest
from helpers.answers import formula_answers
from hypothesis import given
from hypothesis import strategies as st

from polycal.metrics import calibration, diagnostics

pairs = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("confidence", "correct", "bins", "value"),
    [
        # documentation of torchmetrics, and a run of 1.9.0 in float32
        ([0.55, 0.55, 0.6, 0.9], [0, 0, 1, 1], 3, 0.23333331942558289),
        ([0.25, 0.25, 0.55, 0.75, 0.75], [0, 0, 1, 1, 1], 2, 0.3166666626930237),
    ],
)
def test_maximum_of_torchmetrics(confidence, correct, bins, value):
    assert diagnostics.maximum_calibration_error(confidence, correct, bins=bins) == pytest.approx(
        value, abs=1e-7
    )


@given(pairs)
def test_maximum_bounds_the_rms(answers):
    confidence, correct = zip(*answers, strict=True)
    maximum = diagnostics.maximum_calibration_error(confidence, correct)
    assert calibration.rms_calibration_error(confidence, correct) <= maximum + 1e-12 <= 1 + 1e-9


TWO_ADAPTIVE_BINS = np.repeat([0.5, 0.9], [100, 150]), np.repeat([1.0, 0.0], [100, 150])


def test_adaptive_bins_by_hand():
    # Two bins: 100 answers with a gap of .5 and, with the remainder, 150 with a gap of .9.
    l2 = math.sqrt((100 * 0.25 + 150 * 0.81) / 250)
    assert diagnostics.adaptive_calibration_error(*TWO_ADAPTIVE_BINS) == pytest.approx(l2, abs=1e-14)
    for norm, value in (("l1", (100 * 0.5 + 150 * 0.9) / 250), ("max", 0.9)):
        error = diagnostics.adaptive_calibration_error(*TWO_ADAPTIVE_BINS, norm=norm)
        assert error == pytest.approx(value, abs=1e-14)


def adaptive_error_by_loop(confidence, correct, size, drop_last):
    """The published loop: sort, cut every ``size`` answers, extend the last bin to the end.

    ``drop_last`` leaves the last bin out of the sum but not out of N. The code behind many published numbers
    does this, so it ignores the most confident answers.
    """
    order = np.argsort(confidence, kind="stable")
    p, y = confidence[order], correct[order]
    cuts = [[k * size, (k + 1) * size] for k in range(max(len(p) // size, 1))]
    cuts[-1][1] = len(p)
    total = 0.0
    for start, stop in cuts[: len(cuts) - drop_last]:
        total += (stop - start) / len(p) * (p[start:stop].mean() - y[start:stop].mean()) ** 2
    return math.sqrt(total)


def adaptive_rms_last_dropped(confidence, correct, size=100, norm="l2"):
    """The adaptive error without the last bin, computed without a loop."""
    order = np.argsort(confidence, kind="stable")
    starts = np.arange(max(len(confidence) // size, 1)) * size
    count = np.diff(np.append(starts, len(confidence)))[:-1]
    gap = np.abs(np.add.reduceat((confidence - correct)[order], starts)[:-1] / count)
    return gap.max(initial=0.0) if norm == "max" else math.sqrt(count @ gap**2 / len(confidence))


@pytest.mark.parametrize("n", [1, 99, 100, 101, 1234])
def test_adaptive_against_a_plain_loop(n):
    pair = formula_answers(n, 0.97)
    expected = adaptive_error_by_loop(*pair, 100, drop_last=False)
    assert diagnostics.adaptive_calibration_error(*pair) == pytest.approx(expected, abs=1e-13)


@pytest.mark.parametrize("n", [1, 99, 100, 101, 1234])
def test_a_dropped_last_bin_lowers_the_adaptive_error(n):
    pair = formula_answers(n, 0.97)
    dropped = adaptive_rms_last_dropped(*pair)
    assert dropped == pytest.approx(adaptive_error_by_loop(*pair, 100, drop_last=True), abs=1e-13)
    assert dropped < diagnostics.adaptive_calibration_error(*pair)


def test_a_dropped_last_bin_hides_the_most_confident_answers():
    dropped = adaptive_rms_last_dropped(*TWO_ADAPTIVE_BINS)
    assert dropped == pytest.approx(math.sqrt(100 * 0.25 / 250), abs=1e-14)
    assert adaptive_rms_last_dropped(*TWO_ADAPTIVE_BINS, norm="max") == pytest.approx(0.5)
    assert diagnostics.adaptive_calibration_error(*TWO_ADAPTIVE_BINS, norm="max") == pytest.approx(0.9)


def test_debiased_values_of_other_code():
    # uncertainty-calibration 0.1.4, 15 equal-width bins, p = 2, debiased
    for n, top, value in (
        (500, 0.98, 0.17193640060411425),
        (300, 0.7, 0.149781947040776),
        (997, 0.999, 0.22400542622056116),
    ):
        assert diagnostics.debiased_rms(*formula_answers(n, top)) == pytest.approx(value, abs=1e-13)


def test_debiased_ece_against_sampling():
    confidence, correct = formula_answers(400, 0.9)
    diagram = calibration.reliability(confidence, correct)
    rng = np.random.default_rng(0)
    deviation = np.sqrt(diagram.accuracy * (1 - diagram.accuracy) / diagram.count)
    sampled = rng.normal(diagram.accuracy, deviation, (200_000, len(deviation)))
    mean = np.abs(sampled - diagram.confidence).mean(0) @ diagram.count / 400
    expected = 2 * calibration.ece(confidence, correct) - mean
    assert diagnostics.debiased_ece(confidence, correct) == pytest.approx(expected, abs=3e-4)


def test_debiasing_lowers_the_noise_floor():
    rng = np.random.default_rng(1)
    plain, debiased = [], []
    for _ in range(60):
        confidence = rng.uniform(0.3, 1, 200)
        correct = rng.random(200) < confidence
        plain.append(calibration.ece(confidence, correct))
        debiased.append(diagnostics.debiased_ece(confidence, correct))
    assert np.mean(plain) > 0.07
    assert np.mean(debiased) < 0.7 * np.mean(plain)


def test_debiased_of_one_question_is_defined():
    assert diagnostics.debiased_ece([0.7], [1]) == pytest.approx(0.3)
    assert diagnostics.debiased_rms([0.7], [1]) == 0.0


def test_classwise_of_two_options_by_hand():
    p, gold = np.array([[0.8, 0.2], [0.8, 0.2]]), np.array([0, 1])
    # Each option has probability .8 (.2) and is gold half of the time.
    assert diagnostics.classwise_ece(p, gold) == pytest.approx(0.3, abs=1e-15)


def test_classwise_counts_an_option_over_the_questions_that_have_it():
    p, gold = np.array([[0.5, 0.5, 0.0], [0.2, 0.2, 0.6]]), np.array([0, 2])
    third = calibration.ece([0.6], [1])
    both = [calibration.ece(p[:, 0], gold == 0), calibration.ece(p[:, 1], gold == 1)]
    expected = np.mean([*both, third])
    assert diagnostics.classwise_ece(p, gold, options=[2, 3]) == pytest.approx(expected, abs=1e-15)


def test_classwise_of_a_certain_model():
    p = np.eye(4)
    assert diagnostics.classwise_ece(p, np.arange(4)) == 0.0
    assert diagnostics.classwise_ece(np.ones((2, 1)), np.zeros(2, int)) == 0.0


@given(pairs, st.integers(1, 20))
def test_decomposition_is_exact(answers, bins):
    p, y = (np.array(column, float) for column in zip(*answers, strict=True))
    parts = diagnostics.brier_decomposition(p, y, bins=bins)
    total = parts.reliability - parts.resolution + parts.uncertainty + parts.within
    assert total == pytest.approx(np.mean((p - y) ** 2), abs=1e-12)


def test_decomposition_of_equal_confidences_in_each_bin_is_murphys():
    p, y = np.repeat([0.2, 0.8], 10), np.array([1, *[0] * 9, *[1] * 7, *[0] * 3], float)
    parts = diagnostics.brier_decomposition(p, y)
    assert parts.reliability == pytest.approx(0.5 * 0.1**2 + 0.5 * 0.1**2)
    assert parts.resolution == pytest.approx(0.5 * 0.3**2 + 0.5 * 0.3**2)
    assert parts.uncertainty == pytest.approx(0.24)
    assert parts.within == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: diagnostics.adaptive_calibration_error([0.5], [1], size=0), "size is 0"),
        (lambda: diagnostics.adaptive_calibration_error([0.5], [1], norm="l3"), "norm is 'l3'"),
        (lambda: diagnostics.classwise_ece([[0.5, 0.4]], [0]), "sums to 0.9"),
        (lambda: diagnostics.classwise_ece([[0.5, 0.5]], [0], options=[1]), "zero beyond"),
        (lambda: diagnostics.debiased_ece([], []), "not empty"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
