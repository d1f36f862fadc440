"""Interpolation of a smooth function from its values at Chebyshev nodes in (−1, 1)."""

import numpy as np

from polycal.metrics.arrays import Array


def nodes(count: int) -> Array:
    """Zeros of the Chebyshev polynomial of degree ``count``, [count] in (−1, 1), in descending order."""
    return np.cos(np.pi * (np.arange(count) + 0.5) / count)


def interpolation_weights(x: Array, count: int) -> Array:
    """Weights [R, count] that turn the values at ``nodes(count)`` into the interpolated values at ``x`` [R].

    The interpolant is the polynomial of degree ``count`` − 1 through the values (Trefethen 2013, chapters 3
    and 5). ``x`` is clipped to [−1, 1].
    """
    order = np.arange(count)
    basis = np.cos(order[:, None] * np.arccos(nodes(count)))
    basis[0] /= 2
    return np.cos(order * np.arccos(np.clip(x, -1.0, 1.0))[:, None]) @ basis * (2 / count)
