"""Answers for the tests of metrics."""

import numpy as np


def formula_answers(n, top):
    """Confidences in [0.25, top] and correctness, [n] each, from a formula."""
    i = np.arange(n)
    return 0.25 + (top - 0.25) * ((i * 37) % n + 0.5) / n, ((i * i * 7 + i) % 101 < 62).astype(float)
