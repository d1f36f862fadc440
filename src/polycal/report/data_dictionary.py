"""The meaning and the unit of every column of the tables cells and diagnostics.

They are exported together with the tables. ``docs/method.md`` gives the formulas.
"""

from collections.abc import Iterable
from typing import NamedTuple

from polycal.errors import PolycalError


class DictionaryError(PolycalError):
    """A column without a description; the message contains its name."""


class Entry(NamedTuple):
    """The description of a column.

    ``unit`` is share (0 to 1), difference of shares, nats, count, name or truth value.
    """

    column: str
    meaning: str
    unit: str


SHARE, DIFFERENCE, NATS, COUNT, NAME = "share", "difference of shares", "nats", "count", "name"
COLUMNS = {
    "model": ("base model", NAME),
    "base_seed": ("seed of the base model's pre-training; none for a model from elsewhere", NAME),
    "data": ("instruction data set that the model was tuned on; none for a base model", NAME),
    "recipe": ("settings of the tuning; none for a base model", NAME),
    "beta": ("strength of label smoothing in the tuning; none for a base model", NAME),
    "seed": ("seed of the tuning; none for a base model", NAME),
    "benchmark": ("multiple-choice benchmark", NAME),
    "protocol": ("form of the candidates, number of examples and prompt", NAME),
    "language": ("language of the questions, BCP 47", NAME),
    "resource": ("resource level of the language: high, mid or low", NAME),
    "n": ("number of questions", COUNT),
    "chance": ("accuracy of guessing: mean over questions of 1 / number of options", SHARE),
    "above_chance": ("whether the interval of the accuracy is above chance", "truth value"),
    "accuracy": ("share of questions whose most probable option is right", SHARE),
    "confidence": ("mean probability of the most probable option", SHARE),
    "gap": ("confidence minus accuracy; positive is over-confident", DIFFERENCE),
    "entropy": ("mean entropy of the distribution over the options", NATS),
    "entropy_normalised": ("mean of the entropy divided by that of the uniform distribution", SHARE),
    "ece": ("expected calibration error: mean over bins of |accuracy - confidence|, weighted by size", SHARE),
    "rms": ("root of the mean over bins of (accuracy - confidence) squared, weighted by size", SHARE),
    "brier": ("mean squared distance of the distribution from the right option", "squared distance, 0 to 2"),
    "nll": ("mean negative log-probability of the right option", NATS),
    "smooth_ece": ("calibration error by kernel smoothing, without bins", SHARE),
    "candidate_mass": ("mean probability of all letters together, before normalising; empty for texts", SHARE),
    "order_spread": ("mean distance of the distribution in one order of the options from the mean over orders", SHARE),
    "ece_floor": ("mean ECE of a perfectly calibrated model with the same confidences", SHARE),
    "ece_floor_high": ("95% quantile of the ECE of a perfectly calibrated model with the same confidences", SHARE),
    "equal_candidates": ("questions whose most probable option has an equal", COUNT),
    "ece_bias": ("what chance in the labels adds to the ECE, by the folded normal distribution", DIFFERENCE),
    "interval_covers": ("what else the intervals are about: other questions, and not other trainings", NAME),
    "ece_mass": ("ECE with bins of equal numbers of questions", SHARE),
    "maximum_calibration_error": ("largest |accuracy - confidence| of a bin", SHARE),
    "debiased_ece": ("ECE less what chance in the labels adds to it", DIFFERENCE),
    "debiased_rms": ("rms less what chance in the labels adds to it", SHARE),
    "adaptive_rms": ("rms over bins of equal numbers of questions", SHARE),
    "classwise_ece": ("mean over options of the ECE of the option's probability", SHARE),
    "platt_ece": ("ECE after a logistic regression fitted on the same answers", SHARE),
    "brier_reliability": ("reliability of the binned Brier score of confidence: the part of miscalibration", SHARE),
    "brier_resolution": ("resolution of the binned Brier score of confidence: the part of discrimination", SHARE),
    "brier_uncertainty": ("uncertainty of the binned Brier score of confidence: accuracy x (1 - accuracy)", SHARE),
    "auroc": ("probability that a right answer is more confident than a wrong one", SHARE),
    "accuracy_coverage_area": ("mean over k of the accuracy of the k most confident answers", SHARE),
    "selective_accuracy": ("accuracy of the most confident tenth of the answers", SHARE),
}  # fmt: skip
"""Meaning and unit by column. The bounds of an interval are described by the column they belong to."""
BOUNDS = {"_low": "lower", "_high": "upper"}


def entries(columns: Iterable[str]) -> list[Entry]:
    """The entry of each column, in order. Raises DictionaryError if a column has none."""
    return [_entry(column) for column in columns]


def _entry(column: str) -> Entry:
    if column in COLUMNS:
        return Entry(column, *COLUMNS[column])
    for ending, bound in BOUNDS.items():
        metric = column.removesuffix(ending)
        if column.endswith(ending) and metric in COLUMNS:
            return Entry(
                column, f"{bound} bound of the 95% bootstrap interval of {metric}", COLUMNS[metric][1]
            )
    raise DictionaryError(f"column {column!r} has no meaning in the data dictionary; COLUMNS must have one.")
