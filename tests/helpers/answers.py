"""Confidences and correctness for the tests of metrics."""

import numpy as np


def formula_answers(n, top):
    """Confidences [n] in [0.25, top] and correctness [n] of 0 and 1, from a formula without random numbers."""
    i = np.arange(n)
    return 0.25 + (top - 0.25) * ((i * 37) % n + 0.5) / n, ((i * i * 7 + i) % 101 < 62).astype(float)
