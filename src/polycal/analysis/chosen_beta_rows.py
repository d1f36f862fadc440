"""The rows of the table chosen_beta, and whether one β, chosen on English, serves other languages."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from polycal.analysis import beta_rule, quantities
from polycal.analysis.chosen_beta import ENGLISH, LANGUAGE, PLAIN, RESOURCE, Chosen
from polycal.analysis.conditions import Condition, cell_key
from polycal.analysis.cross_fitting import ECE, METRICS
from polycal.analysis.intervals import false_discovery
from polycal.analysis.quantities import Quantity
from polycal.analysis.relative_cut import REDUCTION, REFUSED, relative_cut
from polycal.vocabulary import CELL_KEYS, NONE

EXCESS = ("ece_excess", "ece_excess_low", "ece_excess_high", "p", "q")
SERVES = "english_serves"
"""Column: whether the choice made on English is as good as this one."""
ECE_MARGIN = 0.01
"""An ECE that is higher by at most this counts as equally good."""
SIGNIFICANT_Q = 0.05
"""An ECE is surely higher if the q of its excess is below this."""
ACCURACY = METRICS.index("accuracy")
COLUMNS = (
    "chosen_on",
    "method",
    *CELL_KEYS,
    "choices",
    "temperature",
    "n",
    "holes",
    *(name + end for name in METRICS for end in ("", "_low", "_high")),
    *(f"{name}_change{end}" for name in ("ece", "accuracy") for end in ("", "_low", "_high")),
    *REDUCTION,
    REFUSED,
    *EXCESS,
    SERVES,
    "interval_covers",
)


def chosen_beta_rows(results: Sequence[Chosen]) -> list[dict[str, Any]]:
    """One row per choice and cell, and one per choice and condition for the mean over languages.

    ``_change`` and relative_ece_reduction are against the model with β = 0 on the same questions. ece_excess
    is the ECE of the β chosen on English, minus that of the row. p is the one-sided p of "the excess
    is at most zero". q is p adjusted for the false discovery rate over the languages of one choice; for a mean
    it is p.
    """
    by_key = {(one.chosen_on, one.method, *cell_key(one.cell)): one for one in results}
    groups: dict[tuple[str, ...], list[Chosen]] = {}
    for result in results:
        group = (result.chosen_on, result.method, *Condition.of(result.cell))
        groups.setdefault(group, []).append(result)
    rows = []
    for (chosen_on, method, *_), members in groups.items():
        pairs = []
        for result in members:
            names = cell_key(result.cell)
            english = by_key.get((ENGLISH, method, *names)) if chosen_on in (RESOURCE, LANGUAGE) else None
            pairs.append((result, by_key[(NONE, PLAIN, *names)], english))
        tests = [_excess(*pair) for pair in pairs]
        alone = [place for place, member in enumerate(members) if member.cell["language"] != "mean"]
        q = false_discovery(np.array([tests[place]["p"] for place in alone]))
        for place, value in zip(alone, q.tolist(), strict=True):
            tests[place]["q"] = value
        rows += [
            {**_row(result, reference), **test, SERVES: _verdict(result, reference, english, test)}
            for (result, reference, english), test in zip(pairs, tests, strict=True)
        ]
    return rows


def _row(result: Chosen, reference: Chosen) -> dict[str, Any]:
    """A row without what compares it with the choice on English."""
    quantity, unsmoothed = result.quantity, reference.quantity
    changes = _bounds({"ece_change": ECE, "accuracy_change": ACCURACY}, quantity.minus(unsmoothed))
    return {
        "chosen_on": result.chosen_on,
        "method": result.method,
        **result.cell,
        "beta": result.beta,
        "choices": ", ".join(
            f"{beta} ({result.choices[beta]})" for beta in sorted(result.choices, key=float)
        ),
        "temperature": result.temperature,
        "n": result.n,
        "holes": result.holes,
        **quantities.with_intervals(METRICS, quantity),
        **changes,
        **relative_cut(quantity, unsmoothed, reference.floor, ECE),
        "interval_covers": "" if result.holes else ", ".join(result.covers),
    }


def _excess(result: Chosen, _: Chosen, english: Chosen | None) -> dict[str, float]:
    """The ECE of the choice on English minus that of ``result``, with interval and p; q is p."""
    if english is None or result.holes:
        return dict.fromkeys(EXCESS, float("nan"))
    excess = english.quantity.minus(result.quantity)
    p = float(excess.p_above()[ECE])
    return {**_bounds({EXCESS[0]: ECE}, excess), "p": p, "q": p}


def _verdict(result: Chosen, reference: Chosen, english: Chosen | None, test: Mapping[str, float]) -> str:
    """Whether the β chosen on English serves as well as that of ``result``: yes, no, or unclear.

    It does not if accuracy is surely lost beyond the allowance. Otherwise it does if the interval of the excess
    ends at ECE_MARGIN or below, and it does not if q is below SIGNIFICANT_Q.
    """
    if english is None or result.holes:
        return ""
    _, most = english.quantity.minus(reference.quantity).interval()
    if most[ACCURACY] < -beta_rule.ALLOWED_LOSS:
        return "no"
    if test["ece_excess_high"] <= ECE_MARGIN:
        return "yes"
    return "no" if test["q"] < SIGNIFICANT_Q else "unclear"


def _bounds(columns: Mapping[str, int], change: Quantity) -> dict[str, float]:
    """Some columns of ``change`` [4], by name, with the bounds of their 95% intervals."""
    low, high = change.interval()
    bounds: dict[str, float] = {}
    for name, column in columns.items():
        bounds |= {
            name: float(change.estimate[column]),
            f"{name}_low": float(low[column]),
            f"{name}_high": float(high[column]),
        }
    return bounds
