"""Scores of distributions over options: accuracy, entropy, Brier score, negative log-likelihood.

The arguments are described in ``polycal.metrics.arrays``: ``probabilities`` [N, K] with rows that sum to 1,
and ``gold`` [N] in 0 … K−1.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from polycal.metrics.arrays import Array, checked_distributions, checked_options, checked_probabilities

Normalise = Literal["sum", "token", "byte"]


def accuracy(probabilities: ArrayLike, gold: ArrayLike) -> float:
    """Share of questions whose most probable option is the gold one, in [0, 1]. Ties go to the first option.

    Raises ValueError if ``probabilities`` are not distributions or ``gold`` is not N indices of options.

    Examples:
        >>> from polycal.metrics import accuracy
        >>> accuracy([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], [0, 1])
        0.5
    """
    p, g = checked_distributions(probabilities, gold)
    return float(np.mean(p.argmax(1) == g))


def entropy(probabilities: ArrayLike, *, normalised: bool = False, options: ArrayLike | None = None) -> float:
    """Mean Shannon entropy of the rows in nats, in [0, log K].

    ``normalised`` divides each row's entropy by the log of its number of options. The mean is then in [0, 1]
    and has no unit. ``options`` [N] is used only for this. Without it a row's last positive entry counts as
    its last option, and a row has at least two options. So give ``options`` if the probability of an option
    can be exactly zero. Raises ValueError if ``probabilities`` are not distributions and, if normalised, if
    ``options`` are not N integers in 2 … K or a row has a positive probability beyond its last option.

    Examples:
        >>> from polycal.metrics import entropy
        >>> round(entropy([[0.5, 0.5], [1.0, 0.0]]), 3)
        0.347
        >>> entropy([[0.5, 0.5], [1.0, 0.0]], normalised=True, options=[2, 2])
        0.5
    """
    p = checked_probabilities(probabilities)
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    values = -(p * logs).sum(1)
    if normalised:
        if options is None:
            count = p.shape[1] - (p[:, ::-1] > 0).argmax(1)
            values = values / np.log(np.maximum(count, 2))
        else:
            count = checked_options(p, options)
            if (count < 2).any():
                raise ValueError("options must be at least 2 for a normalised entropy")
            values = values / np.log(count)
    return float(values.mean()) + 0.0  # −0.0 becomes 0.0


def brier(probabilities: ArrayLike, gold: ArrayLike) -> float:
    """Mean over questions of Σ_k (p_k − [k = gold])², in [0, 2] (Brier 1950, eq. 2).

    Raises ValueError if ``probabilities`` are not distributions or ``gold`` is not N indices of options.

    Examples:
        >>> from polycal.metrics import brier
        >>> round(brier([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], [0, 1]), 3)
        0.5
    """
    p, g = checked_distributions(probabilities, gold)
    target = np.zeros_like(p)
    target[np.arange(len(p)), g] = 1.0
    return float(((p - target) ** 2).sum(1).mean())


def nll(probabilities: ArrayLike, gold: ArrayLike) -> float:
    """Mean negative log-likelihood of the gold option in nats; infinite if its probability is zero.

    Raises ValueError if ``probabilities`` are not distributions or ``gold`` is not N indices of options.

    Examples:
        >>> from polycal.metrics import nll
        >>> round(nll([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], [0, 1]), 3)
        0.78
        >>> nll([[0.7, 0.2]], [0])
        Traceback (most recent call last):
        ValueError: row 0 of probabilities sums to 0.9, but must sum to 1
    """
    p, g = checked_distributions(probabilities, gold)
    with np.errstate(divide="ignore"):
        return float(-np.log(p[np.arange(len(p)), g]).mean()) + 0.0  # −0.0 becomes 0.0


def option_probabilities(
    option_logprob: Sequence[ArrayLike] | Array,
    normalise: Normalise = "sum",
    *,
    option_tokens: Sequence[ArrayLike] | None = None,
    option_bytes: Sequence[ArrayLike] | None = None,
) -> Array:
    """Distributions over the options of each question, [N, K], from the options' log-likelihoods.

    ``option_logprob`` contains one row per question, with one log-likelihood in nats per option. The result
    is the softmax of each row. ``normalise``: ``sum`` uses the log-likelihoods unchanged. ``token`` and
    ``byte`` first divide them by the option's length, from ``option_tokens`` or ``option_bytes`` (rows as in
    ``option_logprob``). With ``token`` an option's probability is proportional to its inverse perplexity. The
    questions may have different numbers of options. K is the largest, and a row is zero beyond its last
    option.

    Raises ValueError if there is no question, if a question has no option, if a log-likelihood is not finite,
    if ``normalise`` is unknown, and if lengths are missing, differ in number from the options, or are below
    1.

    Examples:
        >>> from polycal.metrics import option_probabilities
        >>> option_probabilities([[-1.0, -2.0, -3.0], [-4.0, -2.0]]).round(3).tolist()
        [[0.665, 0.245, 0.09], [0.119, 0.881, 0.0]]
        >>> option_probabilities([[-4.0, -2.0]], "token", option_tokens=[[4, 2]]).tolist()
        [[0.5, 0.5]]
    """
    lengths = {"sum": None, "token": option_tokens, "byte": option_bytes}
    if normalise not in lengths:
        raise ValueError(f"normalise is {normalise!r}, but must be 'sum', 'token' or 'byte'")
    if normalise != "sum" and lengths[normalise] is None:
        raise ValueError(f"normalise {normalise!r} needs option_{normalise}s")
    rows = [np.asarray(row, dtype=np.float64) for row in option_logprob]
    if not rows or min(map(len, rows)) < 1:
        raise ValueError("option_logprob must contain at least one question, each with at least one option")
    if (length_rows := lengths[normalise]) is not None:
        divisors = [np.asarray(length, dtype=np.float64) for length in length_rows]
        if [len(row) for row in rows] != [len(length) for length in divisors]:
            raise ValueError(
                f"option_{normalise}s and option_logprob must have the same number of options for each question"
            )
        if any((length < 1).any() for length in divisors):
            raise ValueError(f"option_{normalise}s must be at least 1")
        rows = [row / length for row, length in zip(rows, divisors, strict=True)]
    scores = np.full((len(rows), max(map(len, rows))), -np.inf)
    for number, row in enumerate(rows):
        if not np.isfinite(row).all():
            raise ValueError(f"row {number} of option_logprob must contain only finite log-likelihoods")
        scores[number, : len(row)] = row
    scores = np.exp(scores - scores.max(1, keepdims=True))
    return scores / scores.sum(1, keepdims=True)
