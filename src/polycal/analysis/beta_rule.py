"""The rule by which a β is chosen: the least ECE among those that keep accuracy."""

import numpy as np
from numpy.typing import NDArray

ALLOWED_LOSS = 0.01
"""A chosen β must lose less accuracy than this, as a share, against β = 0."""


def chosen(ece: NDArray[np.float64], accuracy: NDArray[np.float64]) -> NDArray[np.int64]:
    """The index of the chosen β, [...], from ECE and accuracy [B, ...] of B values of β in ascending order.

    The first β must be 0. Of equal ECEs the lowest β is chosen. An ECE of NaN is never chosen, unless all
    are NaN; β = 0 is chosen then.
    """
    with np.errstate(invalid="ignore"):
        keeps = accuracy > accuracy[0] - ALLOWED_LOSS
    return np.where(keeps & np.isfinite(ece), ece, np.inf).argmin(0)
