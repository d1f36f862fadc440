import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycal.metrics import calibration as c
from polycal.metrics import diagnostics as d

pairs = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


def formula(n, top):
    """Confidences and correctness from a formula, for values computed elsewhere."""
    i = np.arange(n)
    return 0.25 + (top - 0.25) * ((i * 37) % n + 0.5) / n, ((i * i * 7 + i) % 101 < 62).astype(float)


@pytest.mark.parametrize(
    ("confidence", "correct", "bins", "value"),
    [
        # documentation of torchmetrics, and a run of 1.9.0 in float32
        ([0.55, 0.55, 0.6, 0.9], [0, 0, 1, 1], 3, 0.23333331942558289),
        ([0.25, 0.25, 0.55, 0.75, 0.75], [0, 0, 1, 1, 1], 2, 0.3166666626930237),
    ],
)
def test_maximum_of_torchmetrics(confidence, correct, bins, value):
    assert d.maximum_calibration_error(confidence, correct, bins=bins) == pytest.approx(value, abs=1e-7)


@given(pairs)
def test_maximum_bounds_the_rms(found):
    confidence, correct = zip(*found, strict=True)
    most = d.maximum_calibration_error(confidence, correct)
    assert c.rms_calibration_error(confidence, correct) <= most + 1e-12 <= 1 + 1e-9


def test_adaptive_bins_with_and_without_the_last():
    confidence = np.concatenate([np.full(100, 0.5), np.full(150, 0.9)])
    correct = np.concatenate([np.ones(100), np.zeros(150)])
    # two bins: 100 questions off by .5 and, with the remainder, 150 off by .9
    full = math.sqrt((100 * 0.25 + 150 * 0.81) / 250)
    assert d.adaptive_calibration_error(confidence, correct) == pytest.approx(full, abs=1e-14)
    dropped = d.adaptive_calibration_error(confidence, correct, drop_last=True)
    assert dropped == pytest.approx(math.sqrt(100 * 0.25 / 250), abs=1e-14)
    for norm, value in (("l1", (100 * 0.5 + 150 * 0.9) / 250), ("max", 0.9)):
        assert d.adaptive_calibration_error(confidence, correct, norm=norm) == pytest.approx(value, abs=1e-14)
    assert d.adaptive_calibration_error(confidence, correct, norm="max", drop_last=True) == pytest.approx(0.5)


def reference_adaptive(confidence, correct, size, drop_last):
    """The published loop, as its paper and code describe it: sorted, cut every ``size``, last bin extended."""
    order = np.argsort(confidence, kind="stable")
    p, y = confidence[order], correct[order]
    cuts = [[k * size, (k + 1) * size] for k in range(max(len(p) // size, 1))]
    cuts[-1][1] = len(p)
    total = 0.0
    for start, stop in cuts[: len(cuts) - drop_last]:
        total += (stop - start) / len(p) * (p[start:stop].mean() - y[start:stop].mean()) ** 2
    return math.sqrt(total)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("n", [1, 99, 100, 101, 1234])
def test_adaptive_against_a_plain_loop(n, drop_last):
    pair = formula(n, 0.97)
    expected = reference_adaptive(*pair, 100, drop_last)
    assert d.adaptive_calibration_error(*pair, drop_last=drop_last) == pytest.approx(expected, abs=1e-13)


def test_debiased_values_of_other_code():
    # uncertainty-calibration 0.1.4, 15 equal-width bins, p = 2, debiased
    for n, top, value in (
        (500, 0.98, 0.17193640060411425),
        (300, 0.7, 0.149781947040776),
        (997, 0.999, 0.22400542622056116),
    ):
        assert d.debiased_rms(*formula(n, top)) == pytest.approx(value, abs=1e-13)


def test_debiased_ece_against_sampling():
    confidence, correct = formula(400, 0.9)
    found = c.reliability(confidence, correct)
    rng = np.random.default_rng(0)
    deviation = np.sqrt(found.accuracy * (1 - found.accuracy) / found.count)
    sampled = rng.normal(found.accuracy, deviation, (200_000, len(deviation)))
    mean = np.abs(sampled - found.confidence).mean(0) @ found.count / 400
    expected = 2 * c.ece(confidence, correct) - mean
    assert d.debiased_ece(confidence, correct) == pytest.approx(expected, abs=3e-4)


def test_debiasing_removes_the_noise_floor():
    rng = np.random.default_rng(1)
    plain, less = [], []
    for _ in range(60):
        confidence = rng.uniform(0.3, 1, 200)
        correct = rng.random(200) < confidence
        plain.append(c.ece(confidence, correct))
        less.append(d.debiased_ece(confidence, correct))
    assert np.mean(plain) > 0.07
    assert np.mean(less) < 0.7 * np.mean(plain)


def test_debiased_of_one_question_is_defined():
    assert d.debiased_ece([0.7], [1]) == pytest.approx(0.3)
    assert d.debiased_rms([0.7], [1]) == 0.0


def test_classwise_of_two_options_by_hand():
    p, gold = np.array([[0.8, 0.2], [0.8, 0.2]]), np.array([0, 1])
    # each option: .8 (.2) said, half right
    assert d.classwise_ece(p, gold) == pytest.approx(0.3, abs=1e-15)


def test_classwise_counts_an_option_over_the_questions_that_have_it():
    p, gold = np.array([[0.5, 0.5, 0.0], [0.2, 0.2, 0.6]]), np.array([0, 2])
    third = d.ece([0.6], [1])
    both = [c.ece(p[:, 0], gold == 0), c.ece(p[:, 1], gold == 1)]
    expected = np.mean([*both, third])
    assert d.classwise_ece(p, gold, options=[2, 3]) == pytest.approx(expected, abs=1e-15)


def test_classwise_of_a_certain_model():
    p = np.eye(4)
    assert d.classwise_ece(p, np.arange(4)) == 0.0
    assert d.classwise_ece(np.ones((2, 1)), np.zeros(2, int)) == 0.0


@given(pairs, st.integers(1, 20))
def test_decomposition_is_exact(found, bins):
    p, y = (np.array(side, float) for side in zip(*found, strict=True))
    parts = d.brier_decomposition(p, y, bins=bins)
    total = parts.reliability - parts.resolution + parts.uncertainty + parts.within
    assert total == pytest.approx(np.mean((p - y) ** 2), abs=1e-12)


def test_decomposition_without_spread_in_a_bin_is_murphys():
    p, y = np.repeat([0.2, 0.8], 10), np.array([1, *[0] * 9, *[1] * 7, *[0] * 3], float)
    parts = d.brier_decomposition(p, y)
    assert parts.reliability == pytest.approx(0.5 * 0.1**2 + 0.5 * 0.1**2)
    assert parts.resolution == pytest.approx(0.5 * 0.3**2 + 0.5 * 0.3**2)
    assert parts.uncertainty == pytest.approx(0.24)
    assert parts.within == pytest.approx(0.0, abs=1e-15)


@given(pairs)
def test_auroc_against_all_pairs(found):
    p, y = (np.array(side, float) for side in zip(*found, strict=True))
    right, wrong = p[y == 1], p[y == 0]
    value = d.auroc(p, y)
    if not len(right) or not len(wrong):
        assert math.isnan(value)
    else:
        more = (right[:, None] > wrong).mean() + 0.5 * (right[:, None] == wrong).mean()
        assert value == pytest.approx(more, abs=1e-12)


@pytest.mark.parametrize(
    ("confidence", "correct", "area", "top"),
    [
        # p-lambda/verified_calibration, test_selective_stats, whose functions HELM calls
        ([0.1], [1], 1.0, 1.0),
        ([0.3, 0.9], [0, 1], 0.75, 1.0),
        ([0.3, 0.9], [1, 0], 0.25, 0.0),
        ([0.6, 0.0, 0.8], [1, 0, 1], 8 / 9, 1.0),
        ([0.6, 0.0, 0.8], [0, 0, 1], 11 / 18, 1.0),
        ([0.1] * 10 + [0.6, 0.7], [0] * 10 + [0, 1], np.mean(1 / np.arange(1, 13)), 0.5),
        ([0.1] * 10 + [0.6, 0.7], [0] * 10 + [1, 0], np.mean(1 / np.arange(1, 13)) - 1 / 12, 0.5),
        ([0.1] * 9 + [0.5, 0.6, 0.7], [0] * 9 + [1, 0, 0], np.mean(1 / np.arange(1, 13)) - 1.5 / 12, 0.0),
    ],
)
def test_selective_values(confidence, correct, area, top):
    assert d.accuracy_coverage_area(confidence, correct) == pytest.approx(area, abs=1e-14)
    assert d.selective_accuracy(confidence, correct) == pytest.approx(top, abs=1e-14)


def test_ties_do_not_depend_on_their_order():
    confidence = [0.5, 0.5, 0.5, 0.9]
    first, second = ([1, 0, 0, 1], [0, 0, 1, 1])
    assert d.accuracy_coverage_area(confidence, first) == d.accuracy_coverage_area(confidence, second)
    assert d.selective_accuracy([0.7] * 10, [1] * 3 + [0] * 7) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: d.auroc([math.nan], [1]), r"lie in \[0, 1\]"),
        (lambda: d.adaptive_calibration_error([0.5], [1], size=0), "size is 0"),
        (lambda: d.adaptive_calibration_error([0.5], [1], norm="l3"), "norm is 'l3'"),
        (lambda: d.selective_accuracy([0.5], [1], coverage=2), "coverage is 2"),
        (lambda: d.classwise_ece([[0.5, 0.4]], [0]), "sums to 0.9"),
        (lambda: d.classwise_ece([[0.5, 0.5]], [0], options=[1]), "zero beyond"),
        (lambda: d.debiased_ece([], []), "not empty"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
