import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycal.metrics import calibration as c


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
        (
            lambda: c.option_probabilities([[-1.0, -2.0]], "token", option_tokens=[[1]]),
            "differ in their numbers",
        ),
        (lambda: c.option_probabilities([[-1.0, -2.0]], "byte", option_bytes=[[0, 3]]), "at least 1"),
        (lambda: c.entropy([[0.5, 0.5]], normalised=True, options=[1]), "zero beyond a row's own options"),
        (lambda: c.entropy([[1.0]], normalised=True, options=[1]), "at least 2"),
        (lambda: c.accuracy([[0.5, 0.5]], [-1]), "lie in 0"),
        (lambda: c.smooth_ece([0.5, math.nan], [1, 0]), r"lie in \[0, 1\]"),
        (lambda: c.rms_calibration_error([0.5], [2]), "correct must be 0 or 1"),
        (lambda: c.entropy([0.5, 0.5]), r"must be \[N, K\]"),
        (lambda: c.brier([[1.5, -0.5]], [0]), "not negative"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# Values that other libraries give, with where they stand.
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
    assert c.ece(confidence, correct, bins=bins) == pytest.approx(l1, abs=1e-7)
    assert c.rms_calibration_error(confidence, correct, bins=bins) == pytest.approx(l2, abs=1e-7)


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
    assert c.ece(confidence, correct, bins=bins) == pytest.approx(l1, abs=1e-15)
    if l2 is not None:
        assert c.rms_calibration_error(confidence, correct, bins=bins) == pytest.approx(l2, abs=1e-15)


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
    assert c.ece(confidence, correct, bins=bins, binning="mass") == pytest.approx(value, abs=1e-15)


def formula(n, top):
    """Confidences and correctness from a formula, for values computed elsewhere."""
    i = np.arange(n)
    return 0.25 + (top - 0.25) * ((i * 37) % n + 0.5) / n, ((i * i * 7 + i) % 101 < 62).astype(float)


@pytest.mark.parametrize(
    ("n", "top", "width", "mass", "smooth"),
    [
        # uncertainty-calibration 0.1.4 (get_ece with 15 bins, get_ece_em with 10) and relplot 1.0.3 (smECE)
        (500, 0.98, 0.17680799999999994, 0.17649999999999996, 0.13167870080003452),
        (300, 0.7, 0.1319133333333334, 0.1445, 0.12685953761417618),
        (997, 0.999, 0.20205636115970782, 0.1933932393972288, 0.15275935019241443),
    ],
)
def test_values_of_other_libraries(n, top, width, mass, smooth):
    pair = formula(n, top)
    assert c.ece(*pair) == pytest.approx(width, abs=1e-14)
    assert c.ece(*pair, bins=10, binning="mass") == pytest.approx(mass, abs=1e-14)
    # relplot sums over a mesh of 200 points
    assert c.smooth_ece(*pair) == pytest.approx(smooth, abs=1e-3)


def kernel_integral(confidence, correct, sigma, points=1001):
    """smECE at one bandwidth from its definition: images of each point, trapezoid rule."""
    t = np.linspace(0, 1, points)[:, None]
    images = np.concatenate([2 * k + s * confidence for k in range(-2, 3) for s in (1, -1)])
    weight = np.tile(confidence - correct, 10) / len(confidence)
    density = np.exp(-0.5 * ((t - images) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi)) @ weight
    return np.trapezoid(np.abs(density), dx=1 / (points - 1))


def test_smooth_ece_is_the_fixed_point_of_its_definition():
    confidence, correct = formula(120, 0.95)
    found = c.smooth_ece(confidence, correct)
    low, high = 0.0, 1.0
    while high - low > 1 / 1024 + 1e-12:
        middle = (low + high) / 2
        if middle < kernel_integral(confidence, correct, middle):
            low = middle
        else:
            high = middle
    assert found == pytest.approx(kernel_integral(confidence, correct, high), abs=2e-5)
    assert high - 1 / 1024 <= found <= high


def test_smooth_ece_counts_confidences_at_the_ends_in_full():
    # Half of the answers are certain and all wrong, half are calibrated: the error is that of the first half.
    confidence = np.repeat([1.0, 0.5], 50)
    correct = np.concatenate([np.zeros(50), np.tile([1.0, 0.0], 25)])
    ours, relplot = c.smooth_ece(confidence, correct), 0.3344387440739929  # smECE of relplot 1.0.3
    assert ours == pytest.approx(0.5, abs=1e-3)
    # a hair inside the interval relplot agrees
    inside, theirs = np.where(confidence == 1, 0.999, confidence), 0.4983133341687572
    assert c.smooth_ece(inside, correct) == pytest.approx(theirs, abs=2e-3)
    assert abs(relplot - ours) > 0.1


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_smooth_ece_of_one_certain_answer(value):
    assert c.smooth_ece([value], [1 - value]) == pytest.approx(1.0, abs=1e-9)
    assert c.smooth_ece([value], [value]) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("correct", [0.0, 1.0])
def test_all_wrong_and_all_correct(correct):
    confidence = np.linspace(0.3, 0.9, 40)
    gap = abs(confidence.mean() - correct)
    for binning in ("width", "mass"):
        assert c.ece(confidence, np.full(40, correct), binning=binning) == pytest.approx(gap, abs=1e-14)
    assert c.smooth_ece(confidence, np.full(40, correct)) == pytest.approx(gap, abs=1e-3)


def test_edges_that_float64_can_say_belong_to_the_lower_bin():
    for bins in range(1, 60):
        edges = np.array([k / bins for k in range(1, bins + 1)])
        assert c.bin_index(edges, bins).tolist() == list(range(bins))


@given(st.lists(st.sampled_from([0.2, 0.4, 0.5, 0.9, 1.0]), min_size=1, max_size=40), st.randoms())
def test_equal_mass_does_not_depend_on_the_order_of_equal_confidences(confidence, random):
    pairs = [(p, random.random() < 0.5) for p in confidence]
    before = c.ece(*zip(*pairs, strict=True), bins=4, binning="mass")
    random.shuffle(pairs)
    assert c.ece(*zip(*pairs, strict=True), bins=4, binning="mass") == pytest.approx(before, abs=1e-12)


def test_one_class():
    p, gold = np.ones((3, 1)), np.zeros(3, int)
    assert c.accuracy(p, gold) == 1.0
    assert c.entropy(p) == 0.0
    assert c.entropy(p, normalised=True) == 0.0
    assert c.brier(p, gold) == 0.0
    assert c.nll(p, gold) == 0.0


def test_normalised_entropy_knows_the_options():
    p = np.array([[0.5, 0.5, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]])
    assert c.entropy(p, normalised=True) == pytest.approx(1.0, abs=1e-15)
    assert c.entropy(p, normalised=True, options=[4, 4]) == pytest.approx(0.75, abs=1e-15)
    assert c.entropy(p, normalised=True, options=[2, 4]) == pytest.approx(1.0, abs=1e-15)
