import math

import numpy as np
import pytest
from helpers.answers import formula_answers

from polycal.metrics import smooth_calibration


@pytest.mark.parametrize(
    ("n", "top", "smooth"),
    [
        # smECE of relplot 1.0.3
        (500, 0.98, 0.13167870080003452),
        (300, 0.7, 0.12685953761417618),
        (997, 0.999, 0.15275935019241443),
    ],
)
def test_values_of_relplot(n, top, smooth):
    # relplot integrates on a mesh of 200 points, hence the tolerance.
    assert smooth_calibration.smooth_ece(*formula_answers(n, top)) == pytest.approx(smooth, abs=1e-3)


def kernel_integral(confidence, correct, sigma, points=1001):
    """smECE at one bandwidth from its definition, with reflected images of each point and the trapezoid rule."""
    t = np.linspace(0, 1, points)[:, None]
    images = np.concatenate([2 * k + s * confidence for k in range(-2, 3) for s in (1, -1)])
    weight = np.tile(confidence - correct, 10) / len(confidence)
    density = np.exp(-0.5 * ((t - images) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi)) @ weight
    return np.trapezoid(np.abs(density), dx=1 / (points - 1))


def test_smooth_ece_is_the_fixed_point_of_its_definition():
    confidence, correct = formula_answers(120, 0.95)
    smooth = smooth_calibration.smooth_ece(confidence, correct)
    low, high = 0.0, 1.0
    while high - low > 1 / 1024 + 1e-12:
        middle = (low + high) / 2
        if middle < kernel_integral(confidence, correct, middle):
            low = middle
        else:
            high = middle
    assert smooth == pytest.approx(kernel_integral(confidence, correct, high), abs=2e-5)
    assert high - 1 / 1024 <= smooth <= high


def test_smooth_ece_counts_confidences_at_the_ends_in_full():
    # Half of the answers are certain and wrong, the other half is calibrated: only the first half is in
    # error.
    confidence = np.repeat([1.0, 0.5], 50)
    correct = np.concatenate([np.zeros(50), np.tile([1.0, 0.0], 25)])
    smooth = smooth_calibration.smooth_ece(confidence, correct)
    relplot_at_one, relplot_below_one = 0.3344387440739929, 0.4983133341687572  # smECE of relplot 1.0.3
    assert smooth == pytest.approx(0.5, abs=1e-3)
    assert abs(relplot_at_one - smooth) > 0.1
    # relplot agrees if the confidence is slightly below 1
    below_one = np.where(confidence == 1, 0.999, confidence)
    assert smooth_calibration.smooth_ece(below_one, correct) == pytest.approx(relplot_below_one, abs=2e-3)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_smooth_ece_of_one_certain_answer(value):
    assert smooth_calibration.smooth_ece([value], [1 - value]) == pytest.approx(1.0, abs=1e-9)
    assert smooth_calibration.smooth_ece([value], [value]) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("correct", [0.0, 1.0])
def test_all_wrong_and_all_correct(correct):
    confidence = np.linspace(0.3, 0.9, 40)
    gap = abs(confidence.mean() - correct)
    assert smooth_calibration.smooth_ece(confidence, np.full(40, correct)) == pytest.approx(gap, abs=1e-3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: smooth_calibration.smooth_ece([0.5, math.nan], [1, 0]), r"lie in \[0, 1\]"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
