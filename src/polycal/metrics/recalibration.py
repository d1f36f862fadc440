"""Recalibration by a number or two fitted afterwards: temperature and Platt scaling.

Pure functions on arrays. A temperature divides the log-probabilities of the options, so it changes how sure
a model is and never what it answers.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from polycal.metrics.calibration import Array, Binning, Integers, checked, ece

COLDEST, HOTTEST = 0.01, 100.0
"""Range of a fitted temperature: without bound it is 0 where all answers are right, infinite where none is."""
LEAST = -1e5
"""Of a log-probability below the largest: nothing at any temperature in the range, and finite."""
NODES = 17
REACH = 1.5


def relative(log_p: Array) -> Array:
    """log p less the row's largest, [N, K]: zero for the chosen option, -1e5 for none and beyond the options."""
    return np.maximum(log_p - log_p.max(-1, keepdims=True), LEAST)


def slope(below: Array, gold: Integers, inverse: float) -> Array:
    """Derivative of each row's negative log-likelihood in the inverse temperature, [N].

    ``below`` [N, K] from ``relative``. With p ∝ exp(inverse · below): E_p[below] − below_gold, which rises
    with ``inverse``: the fit is convex.
    """
    weight = np.exp(inverse * below)
    mean = np.einsum("nk,nk->n", weight, below) / weight.sum(1)
    return mean - below[np.arange(len(gold)), gold]


def fit_temperature(below: Array, gold: Integers) -> float:
    """The temperature of least negative log-likelihood, in [0.01, 100] (Guo et al. 2017, section 4.2).

    The zero of the summed slope in the log of the inverse temperature, by regula falsi to float64 rounding.
    """

    def total(log_inverse: float) -> float:
        return float(slope(below, gold, float(np.exp(log_inverse))).sum())

    low, high = float(np.log(1 / HOTTEST)), float(np.log(1 / COLDEST))
    below_zero, above_zero = total(low), total(high)
    if below_zero >= 0:
        return HOTTEST
    if above_zero <= 0:
        return COLDEST
    point = 0.0
    for _ in range(100):
        value = total(point)
        if value > 0:
            # Illinois: an end that stays where it is counts half the next time.
            high, above_zero, below_zero = point, value, below_zero / 2
        else:
            low, below_zero, above_zero = point, value, above_zero / 2
        new = (low * above_zero - high * below_zero) / (above_zero - below_zero) if value else point
        if abs(new - point) < 1e-13 or high - low < 1e-13:
            break
        point = new
    return float(np.exp(-point))


def chebyshev_nodes(count: int) -> Array:
    """Zeros of the Chebyshev polynomial of degree ``count``, in (-1, 1)."""
    return np.cos(np.pi * (np.arange(count) + 0.5) / count)


def chebyshev_mix(place: Array, count: int) -> Array:
    """[R, count] weights that give the interpolant at ``place`` [R] from values at ``chebyshev_nodes(count)``."""
    order = np.arange(count)
    basis = np.cos(order[:, None] * np.arccos(chebyshev_nodes(count)))
    basis[0] /= 2
    return np.cos(order * np.arccos(np.clip(place, -1.0, 1.0))[:, None]) @ basis * (2 / count)


def fit_nodes(temperature: float) -> Array:
    """Inverse temperatures, [NODES], at which slopes are tabulated to refit resamples near ``temperature``."""
    return np.exp(-np.log(temperature) + REACH * chebyshev_nodes(NODES))


def tabulate(below: Array, gold: Integers, nodes: Array) -> Array:
    """``slope`` at each node, [N, NODES]."""
    return np.column_stack([slope(below, gold, float(node)) for node in nodes])


def refit_temperatures(total: Array, temperature: float) -> Array:
    """Temperatures of R resamples from their summed slopes [R, NODES] at ``fit_nodes(temperature)``, [R].

    The slope is a smooth function of the log temperature, so its Chebyshev interpolant has the same zero to
    about 1e-6. A temperature more than a factor e^1.5 from the first fit, or outside its range, is cut there.
    """
    low, high = np.full(len(total), -1.0), np.full(len(total), 1.0)
    for _ in range(10):
        middle = (low + high) / 2
        above = (chebyshev_mix(middle, NODES) * total).sum(1) > 0
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    # Straight between the ends of what is left: its error is the square of their distance.
    one, two = ((chebyshev_mix(end, NODES) * total).sum(1) for end in (low, high))
    crossing = (one <= 0) & (two > 0)
    share = np.divide(-one, two - one, out=np.full(len(total), 0.5), where=crossing)
    place = low + (high - low) * share
    return np.clip(temperature * np.exp(-REACH * place), COLDEST, HOTTEST)


def platt(confidence: ArrayLike, correct: ArrayLike) -> tuple[float, float]:
    """Slope and intercept of a logistic regression of correctness on the log-odds of confidence (Platt 1999).

    By Newton's method, with a ridge of 1e-10 as in HELM (C = 1e10) and confidences cut to [1e-12, 1 − 1e-12].
    Raises ValueError where all answers are right or all wrong, where no finite fit exists.
    """
    p, y = checked(confidence, correct)
    if y.min() == y.max():
        raise ValueError("correct must hold right and wrong answers for Platt scaling")
    clipped = np.clip(p, 1e-12, 1 - 1e-12)
    design = np.column_stack([np.log(clipped / (1 - clipped)), np.ones(len(p))])
    ridge = np.array([1e-10, 0.0])

    def loss(theta: Array) -> float:
        z = design @ theta
        return float(np.logaddexp(0, z).sum() - z @ y + 0.5 * ridge @ theta**2)

    theta = np.array([1.0, 0.0])
    value = loss(theta)
    for _ in range(100):
        q = _logistic(design @ theta)
        gradient = design.T @ (q - y) + ridge * theta
        curvature = (design * (q * (1 - q))[:, None]).T @ design + np.diag(ridge + 1e-12)
        step = np.linalg.lstsq(curvature, gradient, rcond=None)[0]
        length = 1.0
        while (new := loss(theta - length * step)) > value and length > 1e-8:
            length /= 2
        theta, before, value = theta - length * step, value, new
        if before - value <= 1e-12 * (1 + abs(value)):
            break
    return float(theta[0]), float(theta[1])


def platt_ece(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = 10, binning: Binning = "mass"
) -> float:
    """ECE after Platt scaling fitted on the same answers, in [0, 1] (HELM's platt_ece_10_bin).

    Zero where all answers are right or all wrong, as there.
    """
    p, y = checked(confidence, correct)
    if y.min() == y.max():
        return 0.0
    a, b = platt(p, y)
    clipped = np.clip(p, 1e-12, 1 - 1e-12)
    return ece(_logistic(a * np.log(clipped / (1 - clipped)) + b), y, bins=bins, binning=binning)


def _logistic(z: Array) -> NDArray[np.float64]:
    return np.exp(-np.logaddexp(0, -z))
