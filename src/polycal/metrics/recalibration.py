"""Recalibration by one or two parameters fitted to answers: temperature scaling and Platt scaling.

A temperature divides the log-probabilities of the options, which are then normalised again. It changes the
confidence but never the chosen option.
"""

import numpy as np
from numpy.typing import ArrayLike

from polycal.metrics import chebyshev
from polycal.metrics.arrays import Array, Integers, checked_confidence
from polycal.metrics.calibration import Binning, ece

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 100.0
"""Range of a fitted temperature.

Without it the fit would be 0 if all answers are right, and infinite if the mean log-probability of the gold
options is not above that of all options.
"""
MIN_LOG_RATIO = -1e5
"""Finite substitute for log 0. The resulting probability is zero at every temperature in the range."""
SLOPE_NODES = 17
"""Number of inverse temperatures at which slopes are tabulated."""
LOG_REACH = 1.5
"""The tabulated temperatures are within a factor of e^1.5 of the first fit."""

RIDGE = 1e-10
"""Ridge of Platt's slope, as in HELM (C = 1e10)."""
SAME_LOG_ODDS = 1e-9
"""Log-odds count as equal if their standard deviation, relative to their mean, is at most this."""
WORSE_FIT = 1e-6
"""A fit has not converged if its loss is above that of another fit by more than this relative difference."""


def log_ratios(log_p: Array) -> Array:
    """log(p / largest p of the row) in nats, [N, K]: 0 for the chosen option, at least −1e5, −1e5 for p = 0.

    ``log_p`` [N, K] contains log-probabilities in nats, −inf beyond a question's last option. It is not
    checked.

    Examples:
        >>> import numpy as np
        >>> from polycal.metrics import log_ratios
        >>> log_ratios(np.log([[0.5, 0.25, 0.25]])).round(3).tolist()
        [[0.0, -0.693, -0.693]]
    """
    return np.maximum(log_p - log_p.max(-1, keepdims=True), MIN_LOG_RATIO)


def nll_slope(log_ratio: Array, gold: Integers, inverse: float) -> Array:
    """Derivative of each row's negative log-likelihood in the inverse temperature, [N].

    ``log_ratio`` [N, K] comes from ``log_ratios``. With p ∝ exp(inverse · log_ratio) the derivative is
    E_p[log_ratio] − log_ratio_gold. It increases with ``inverse``, so the fit is convex.
    """
    weight = np.exp(inverse * log_ratio)
    mean = np.einsum("nk,nk->n", weight, log_ratio) / weight.sum(1)
    return mean - log_ratio[np.arange(len(gold)), gold]


def fit_temperature(log_ratio: Array, gold: Integers) -> float:
    """The temperature with the smallest negative log-likelihood, in [0.01, 100].

    ``log_ratio`` [N, K] comes from ``log_ratios``, and ``gold`` [N] contains indices of options. Neither is
    checked. The derivative of the negative log-likelihood in the inverse temperature increases. Regula falsi
    finds its zero, as a function of the log of the inverse temperature, to float64 rounding. Source: Guo et
    al. 2017, arXiv 1706.04599, section 4.2.

    Examples:
        >>> import numpy as np
        >>> from polycal.metrics import fit_temperature, log_ratios
        >>> log_p = np.log([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1]])
        >>> round(fit_temperature(log_ratios(log_p), np.array([0, 0, 0, 1])), 3)
        2.0
    """

    def total(log_inverse: float) -> float:
        return float(nll_slope(log_ratio, gold, float(np.exp(log_inverse))).sum())

    low, high = float(np.log(1 / MAX_TEMPERATURE)), float(np.log(1 / MIN_TEMPERATURE))
    below_zero, above_zero = total(low), total(high)
    if below_zero >= 0:
        return MAX_TEMPERATURE
    if above_zero <= 0:
        return MIN_TEMPERATURE
    point = 0.0
    for _ in range(100):
        value = total(point)
        if value > 0:
            # Illinois rule: halve the value at the end of the bracket that does not move.
            high, above_zero, below_zero = point, value, below_zero / 2
        else:
            low, below_zero, above_zero = point, value, above_zero / 2
        new = (low * above_zero - high * below_zero) / (above_zero - below_zero) if value else point
        if abs(new - point) < 1e-13 or high - low < 1e-13:
            break
        point = new
    return float(np.exp(-point))


def slope_nodes(temperature: float) -> Array:
    """Inverse temperatures around 1 / ``temperature``, [SLOPE_NODES]: where the slopes are tabulated."""
    return np.exp(-np.log(temperature) + LOG_REACH * chebyshev.nodes(SLOPE_NODES))


def tabulate_slopes(log_ratio: Array, gold: Integers, nodes: Array) -> Array:
    """``nll_slope`` at each inverse temperature of ``nodes``, [N, SLOPE_NODES]."""
    return np.column_stack([nll_slope(log_ratio, gold, float(node)) for node in nodes])


def refit_temperatures(total: Array, temperature: float) -> Array:
    """Temperatures of R resamples, [R], from their summed slopes ``total`` [R, SLOPE_NODES].

    ``total`` contains the slopes at ``slope_nodes(temperature)``. The slope is a smooth function of the log
    temperature, so the zero of its Chebyshev interpolant has a relative error of about 1e-6. The result is
    clipped to within a factor of e^1.5 of ``temperature``, and to [0.01, 100].
    """

    def interpolated(x: Array) -> Array:
        return (chebyshev.interpolation_weights(x, SLOPE_NODES) * total).sum(1)

    low, high = np.full(len(total), -1.0), np.full(len(total), 1.0)
    for _ in range(10):
        middle = (low + high) / 2
        above = interpolated(middle) > 0
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    # One step of linear interpolation in the last bracket. Its error is quadratic in the bracket's width.
    at_low, at_high = interpolated(low), interpolated(high)
    crossing = (at_low <= 0) & (at_high > 0)
    share = np.divide(-at_low, at_high - at_low, out=np.full(len(total), 0.5), where=crossing)
    zero = low + (high - low) * share
    return np.clip(temperature * np.exp(-LOG_REACH * zero), MIN_TEMPERATURE, MAX_TEMPERATURE)


def fit_platt(confidence: ArrayLike, correct: ArrayLike) -> tuple[float, float]:
    """Slope and intercept of a logistic regression of correctness on the log-odds of the confidence.

    The fit uses Newton's method, a ridge of 1e-10 as in HELM (C = 1e10), and confidences clipped to [1e-12, 1
    − 1e-12]. Source: Platt 1999. Raises ValueError if the input is empty, of unequal length, not finite or
    out of range, and if all answers are right or all are wrong, because then no finite fit exists.

    Examples:
        >>> from polycal.metrics import fit_platt
        >>> slope, intercept = fit_platt([0.6, 0.6, 0.9, 0.9, 0.9, 0.9], [1, 0, 1, 1, 1, 0])
        >>> round(slope, 3), round(intercept, 3)
        (0.613, -0.249)
    """
    p, y = checked_confidence(confidence, correct)
    if y.min() == y.max():
        raise ValueError("correct must contain right and wrong answers for Platt scaling")
    log_odds = _log_odds(p)
    slope, intercept, value = _newton(log_odds, y, np.array([1.0, 0.0]), RIDGE)
    # If many confidences are almost 0 or 1, this start is so far from the fit that Newton's steps fail. A
    # second fit starts from the base rate, with standardised log-odds. The fit with the smaller loss is
    # returned.
    middle = float(log_odds.mean())
    centred = log_odds - middle
    scale = float(np.sqrt(np.mean(centred**2)))
    if scale <= SAME_LOG_ODDS * (1 + abs(middle)):
        scale, centred = 1.0, np.zeros_like(centred)
    rate = float(y.mean())
    start = np.array([0.0, np.log(rate / (1 - rate))])
    other, other_intercept, other_value = _newton(centred / scale, y, start, RIDGE / scale**2)
    if other_value < value - WORSE_FIT * (1 + abs(value)):
        return other / scale, other_intercept - other * middle / scale
    return slope, intercept


def _newton(x: Array, y: Array, theta: Array, ridge: float) -> tuple[float, float, float]:
    """Slope, intercept and loss of a logistic regression of ``y`` [N] on ``x`` [N], from the start ``theta`` [2]."""
    design = np.column_stack([x, np.ones(len(x))])
    penalty = np.array([ridge, 0.0])

    def loss(theta: Array) -> float:
        z = design @ theta
        return float(np.logaddexp(0, z).sum() - z @ y + 0.5 * penalty @ theta**2)

    value = loss(theta)
    for _ in range(100):
        q = _logistic(design @ theta)
        gradient = design.T @ (q - y) + penalty * theta
        curvature = (design * (q * (1 - q))[:, None]).T @ design + np.diag(penalty + 1e-12)
        step = np.linalg.lstsq(curvature, gradient, rcond=None)[0]
        length = 1.0
        while (new := loss(theta - length * step)) > value and length > 1e-8:
            length /= 2
        theta, before, value = theta - length * step, value, new
        if before - value <= 1e-12 * (1 + abs(value)):
            break
    return float(theta[0]), float(theta[1]), value


def platt_ece(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = 10, binning: Binning = "mass"
) -> float:
    """ECE after Platt scaling that is fitted on the same answers, in [0, 1] (``platt_ece_10_bin`` of HELM).

    As in HELM, the result is zero if all answers are right or all are wrong. Raises ValueError as ``ece``
    does.

    Examples:
        >>> from polycal.metrics import platt_ece
        >>> round(platt_ece([0.6, 0.6, 0.9, 0.9, 0.9, 0.9], [1, 0, 1, 1, 1, 0]), 6)
        0.0
    """
    p, y = checked_confidence(confidence, correct)
    if y.min() == y.max():
        return 0.0
    slope, intercept = fit_platt(p, y)
    return ece(_logistic(slope * _log_odds(p) + intercept), y, bins=bins, binning=binning)


def _log_odds(p: Array) -> Array:
    """log(p / (1 − p)), with ``p`` clipped to [1e-12, 1 − 1e-12] to stay finite."""
    clipped = np.clip(p, 1e-12, 1 - 1e-12)
    return np.log(clipped / (1 - clipped))


def _logistic(z: Array) -> Array:
    """1 / (1 + exp(−z)), without overflow."""
    return np.exp(-np.logaddexp(0, -z))
