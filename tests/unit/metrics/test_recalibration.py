import math

import numpy as np
import pytest
from helpers.answers import formula_answers
from scipy.optimize import minimize, minimize_scalar

from polycal.metrics import calibration, recalibration


def answers(n=400, options=4, sharpness=2.0, seed=0):
    """Log-probabilities [n, options] and gold options [n]; the fitting temperature is about ``sharpness``."""
    rng = np.random.default_rng(seed)
    score = rng.normal(0, 2, (n, options))
    gold = (score / sharpness + rng.gumbel(size=score.shape)).argmax(1)
    return score - np.log(np.exp(score).sum(1, keepdims=True)), gold


def loss(log_p, gold, temperature):
    """Mean negative log-likelihood in nats."""
    score = log_p / temperature
    return float(np.mean(np.log(np.exp(score).sum(1)) - score[np.arange(len(gold)), gold]))


def test_temperature_minimises_the_loss():
    log_p, gold = answers()
    log_ratio = recalibration.log_ratios(log_p)
    fitted = recalibration.fit_temperature(log_ratio, gold)
    best = minimize_scalar(lambda t: loss(log_p, gold, t), bounds=(0.3, 8), method="bounded")
    assert fitted == pytest.approx(best.x, rel=1e-4)
    assert recalibration.nll_slope(log_ratio, gold, 1 / fitted).sum() == pytest.approx(0, abs=1e-8)


def test_temperature_recovers_the_sharpness():
    log_p, gold = answers(20_000, sharpness=2.5)
    assert recalibration.fit_temperature(recalibration.log_ratios(log_p), gold) == pytest.approx(
        2.5, rel=0.05
    )


def test_temperature_is_proportional_to_the_scale_of_the_scores():
    log_p, gold = answers()
    fitted = recalibration.fit_temperature(recalibration.log_ratios(log_p), gold)
    scaled = recalibration.fit_temperature(recalibration.log_ratios(3 * log_p), gold)
    assert scaled == pytest.approx(3 * fitted, rel=1e-9)


def test_temperature_is_the_smallest_if_all_are_right_and_the_largest_if_all_chose_worst():
    log_p, _ = answers()
    log_ratio = recalibration.log_ratios(log_p)
    best, worst = log_p.argmax(1), log_p.argmin(1)
    assert recalibration.fit_temperature(log_ratio, best) == recalibration.MIN_TEMPERATURE
    assert recalibration.fit_temperature(log_ratio, worst) == recalibration.MAX_TEMPERATURE


def test_missing_options_do_not_change_the_temperature():
    log_p, gold = answers()
    padded = np.pad(log_p, ((0, 0), (0, 3)), constant_values=-np.inf)
    fitted = recalibration.fit_temperature(recalibration.log_ratios(log_p), gold)
    assert recalibration.fit_temperature(recalibration.log_ratios(padded), gold) == pytest.approx(
        fitted, rel=1e-12
    )


@pytest.mark.parametrize("n", [60, 800])
def test_refits_equal_fits_to_the_resampled_questions(n):
    log_p, gold = answers(n)
    log_ratio = recalibration.log_ratios(log_p)
    fitted = recalibration.fit_temperature(log_ratio, gold)
    rng = np.random.default_rng(3)
    counts = np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(30)])
    slopes = recalibration.tabulate_slopes(log_ratio, gold, recalibration.slope_nodes(fitted))
    refits = recalibration.refit_temperatures(counts @ slopes, fitted)
    for refit, count in zip(refits, counts, strict=True):
        exact = recalibration.fit_temperature(np.repeat(log_ratio, count, 0), np.repeat(gold, count))
        assert refit == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize(
    ("n", "top", "coefficient", "intercept", "after"),
    [
        # uncertainty-calibration 0.1.4 on scikit-learn 1.9.1, as HELM calls it
        (500, 0.98, 0.16517473992077064, 0.31259028109219295, 0.08814376808709588),
        (300, 0.7, 0.09613062738587236, 0.41592789033942823, 0.031002190478982953),
        (997, 0.999, 0.05395335215583977, 0.37352264316836475, 0.0677110564335237),
    ],
)
def test_platt_values_of_helm(n, top, coefficient, intercept, after):
    pair = formula_answers(n, top)
    # scikit-learn stops at a gradient of 1e-4
    assert recalibration.fit_platt(*pair) == pytest.approx((coefficient, intercept), abs=5e-4)
    assert recalibration.platt_ece(*pair) == pytest.approx(after, abs=5e-5)


def test_platt_minimises_the_loss():
    p, y = formula_answers(300, 0.9)
    a, b = recalibration.fit_platt(p, y)
    z = np.log(p / (1 - p))
    residual = 1 / (1 + np.exp(-(a * z + b))) - y
    assert residual.sum() == pytest.approx(0, abs=1e-8)
    assert residual @ z == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("correct", [0, 1])
def test_platt_of_answers_that_are_all_right_or_all_wrong(correct):
    assert recalibration.platt_ece([0.3, 0.9], [correct, correct]) == 0.0
    with pytest.raises(ValueError, match="right and wrong"):
        recalibration.fit_platt([0.3, 0.9], [correct, correct])


def test_platt_of_certain_and_separable_answers_is_finite():
    a, b = recalibration.fit_platt([0.0, 1.0, 1.0, 0.0], [0, 1, 1, 0])
    assert math.isfinite(a)
    assert math.isfinite(b)
    assert recalibration.platt_ece([0.0, 1.0, 1.0, 0.0], [0, 1, 1, 0]) == pytest.approx(0, abs=1e-3)


def saturated(name):
    """Confidences [N] that are mostly near 0 or 1, and correctness [N]; a number is the scale of the log-odds."""
    rng = np.random.default_rng(7)
    if name == "all certain":
        p = np.ones(300)
    elif name == "all impossible":
        p = np.zeros(300)
    elif name == "almost certain":
        p = np.full(300, 1 - 1e-7)
    elif name == "half certain":
        p = np.r_[np.ones(150), np.full(150, 0.6)]
    elif name == "certain and impossible":
        p = np.r_[np.ones(150), np.zeros(150)]
    elif name == "one doubt":
        p = np.r_[np.ones(299), 0.5]
    else:
        p = 1 / (1 + np.exp(-np.abs(rng.normal(float(name), float(name) / 2, 1500))))
    return p, (rng.random(len(p)) < 0.55).astype(float)


SATURATED = ["all certain", "all impossible", "almost certain", "half certain", "certain and impossible"]
SATURATED += ["one doubt", "2", "5", "10", "20", "40", "100"]


@pytest.mark.parametrize("name", SATURATED)
def test_platt_of_saturated_confidences_minimises_the_loss(name):
    p, y = saturated(name)
    x = np.log(np.clip(p, 1e-12, 1 - 1e-12) / (1 - np.clip(p, 1e-12, 1 - 1e-12)))
    z = (x - x.mean()) / (x.std() if x.std() > 1e-6 else 1.0)

    def loss(theta):
        fit = theta[0] * z + theta[1]
        return np.logaddexp(0, fit).sum() - fit @ y

    best = min((minimize(loss, start) for start in ([0.0, 0.0], [1.0, 0.0])), key=lambda fit: fit.fun)
    slope, intercept = recalibration.fit_platt(p, y)
    fitted = 1 / (1 + np.exp(-(slope * x + intercept)))
    assert np.logaddexp(0, slope * x + intercept).sum() - (slope * x + intercept) @ y == pytest.approx(
        best.fun
    )
    # The mean fitted confidence is the accuracy, so an ECE with one bin is zero.
    assert fitted.mean() == pytest.approx(y.mean(), abs=1e-6)
    expected = calibration.ece(1 / (1 + np.exp(-(best.x[0] * z + best.x[1]))), y, bins=10, binning="mass")
    if len(np.unique(p)) < 3:
        assert recalibration.platt_ece(p, y) == pytest.approx(0, abs=1e-6)
    else:
        assert recalibration.platt_ece(p, y) == pytest.approx(expected, abs=0.01)
