"""Orders of a question's options, and the mean of the distributions over them.

The order of the options changes the answer of many models (Zheng et al. 2024, arXiv 2309.03882; Pezeshkpour &
Hruschka 2024, arXiv 2308.11483). The orders here are rotations: with as many rotations as options, every option has
every letter once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def shifts(options: int, rotations: int) -> list[int]:
    """By how many places the options are rotated in each order; the first is 0.

    The result has ``rotations`` shifts at equal distances, or one for each option if there are fewer options.
    """
    count = min(rotations, options)
    return [number * options // count for number in range(count)]


def rotated(question: Mapping[str, Any], shift: int) -> dict[str, Any]:
    """The question with option ``shift`` first, and the options before it at the end."""
    options = list(question["options"])
    gold = (question["gold"] - shift) % len(options)
    return {**question, "options": options[shift:] + options[:shift], "gold": gold}


def in_first_order(values: Sequence[float], shift: int) -> list[float]:
    """Values of rotated options, in the order of the options before they were rotated by ``shift``."""
    start = len(values) - shift
    return [*values[start:], *values[:start]]


def mean_over_orders(logprob: Sequence[Sequence[float]]) -> tuple[NDArray[np.float64], float]:
    """The mean over orders of the distributions over K options, and how far the orders are from it.

    ``logprob`` [R, K] are the log-likelihoods of the letters in nats, each for the option that it names in
    this order. With p_r the distribution over the options in order r, and m_r = Σ_k exp(logprob[r, k]) its
    mass, the first result is log mean_r p_r + log mean_r m_r, [K]. So its softmax is the mean of the
    distributions, and the sum of its exponentials is the mean mass. The second result is the mean over r of
    the total variation distance ½ Σ_k |p_rk − mean_r p_rk|, in [0, 1).
    """
    scores = np.asarray(logprob, dtype=np.float64)
    mass = np.logaddexp.reduce(scores, axis=1)
    log_p = scores - mass[:, None]
    orders = np.log(len(scores))
    mean = np.logaddexp.reduce(log_p, axis=0) - orders
    spread = np.abs(np.exp(log_p) - np.exp(mean)).sum(1).mean() / 2
    return mean + np.logaddexp.reduce(mass) - orders, float(spread)
