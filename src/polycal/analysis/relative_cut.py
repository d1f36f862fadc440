"""The relative reduction of the ECE against a reference.

A binned ECE is biased: it is above zero even for a calibrated model. If the reference's ECE is no larger than
that, the ratio of two chance values means nothing, and it is refused.
"""

from typing import Any

import numpy as np

from polycal.analysis import intervals
from polycal.analysis.bootstrap import ECE
from polycal.analysis.quantities import Clusters, Quantity, covered
from polycal.metrics.arrays import Array

REDUCTION = ("relative_ece_reduction", "relative_ece_reduction_low", "relative_ece_reduction_high")
"""Columns of the reduction and the bounds of its interval."""
REFUSED = "reduction_refused"
"""Column with the reason why there is no reduction."""
NO_REDUCTION = {**dict.fromkeys(REDUCTION, float("nan")), REFUSED: ""}


def relative_cut(quantity: Quantity, reference: Quantity, floor: Array, column: int = ECE) -> dict[str, Any]:
    """1 − ECE / (ECE of the reference) with its 95% interval, or the reason why there is none.

    Both quantities are METRICS [9], or others whose ECE is at ``column``. ``floor`` [F] are simulated ECEs of a calibrated model with the
    confidences of the reference. The reduction is refused if the reference's ECE is at most the 95% quantile
    of ``floor``.
    """
    refusal = near_floor(float(reference.estimate[column]), floor)
    if refusal:
        return {**NO_REDUCTION, REFUSED: refusal}
    return {**NO_REDUCTION, **dict(zip(REDUCTION, _bounds(quantity, reference, column), strict=True))}


def near_floor(ece: float, floor: Array) -> str:
    """Why no reduction of ``ece`` can be given; empty if one can, or if ``floor`` is empty."""
    if not len(floor) or np.isnan(ece):
        return ""
    high = float(np.quantile(floor, 0.95))
    if ece > high:
        return ""
    return (
        f"the reference's ECE of {ece:.4f} is at most {high:.4f}, the 95% quantile of a calibrated model's, so it may"
        " be chance alone"
    )


def _bounds(quantity: Quantity, reference: Quantity, column: int) -> tuple[float, float, float]:
    """The reduction and the bounds of its 95% interval; NaN if the reference's ECE is zero."""
    clusters = quantity.clusters or reference.clusters
    ece, base = float(quantity.estimate[column]), float(reference.estimate[column])
    if clusters is None:
        return relative_ece_reduction(ece, quantity.samples[:, column], base, reference.samples[:, column])
    if not base > 0:
        return float("nan"), float("nan"), float("nan")
    # For small changes the reduction is nearly linear: cut* − cut = (ratio · base* − ece*) / base.
    ratio = ece / base
    change = Quantity(reference.estimate * ratio, reference.samples * ratio, _scaled(reference, ratio)).minus(
        quantity
    )
    assert change.clusters
    linear = Quantity(
        np.array(1 - ratio),
        1 - ratio + change.samples[:, column] / base,
        Clusters(
            clusters.names,
            change.clusters.estimates[:, column] / base,
            change.clusters.samples[:, :, column] / base,
        ),
        covered(quantity.covers, reference.covers),
    )
    low, high = linear.interval()
    return 1 - ratio, float(low), float(high)


def _scaled(quantity: Quantity, factor: float) -> Clusters | None:
    if quantity.clusters is None:
        return None
    names, estimates, samples = quantity.clusters
    return Clusters(names, estimates * factor, samples * factor)


def relative_ece_reduction(
    ece: float, samples: Array, reference: float, reference_samples: Array
) -> tuple[float, float, float]:
    """1 − ece / reference with the bounds of its 95% interval, for one training each.

    ``samples`` and ``reference_samples`` [R] are the bootstrap samples of both. All results are NaN if the
    reference is zero or a value is NaN.
    """
    if not reference > 0 or np.isnan(ece):
        return float("nan"), float("nan"), float("nan")
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = 1 - samples / reference_samples
    estimate = 1 - ece / reference
    low, high = intervals.interval(np.array(estimate), ratios[np.isfinite(ratios)])
    return float(estimate), float(low), float(high)
