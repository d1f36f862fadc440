"""The test of each claim under the study's own conventions.

Claims have a direction, so p is one-sided. A claim about every language is tested in each language, and its p
is the largest of these (an intersection-union test: Berger 1982, Technometrics 24(4)).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from polycal.analysis import contrasts, sensitivity
from polycal.analysis.bootstrap import ECE, METRICS
from polycal.analysis.cell_metrics import MeasuredCell
from polycal.analysis.contrasts import Pair
from polycal.analysis.holes import NO_GAPS, Gaps
from polycal.analysis.relative_cut import REDUCTION, REFUSED, relative_cut
from polycal.analysis.sensitivity import CLAIM_KEYS, METRIC_OF_CLAIM, ClaimTests
from polycal.vocabulary import ACCURACY_TOLERANCE


def claim_tests(cells: Sequence[MeasuredCell], gaps: Gaps = NO_GAPS) -> ClaimTests:
    """The test of every claim, by CLAIM_KEYS and then by protocol.

    Pairs of conditions with missing languages have no test.
    """
    tests: dict[tuple[str, ...], dict[str, dict[str, Any]]] = {}
    for pair, claims in sensitivity.claimed(cells, gaps):
        if pair.holes:
            continue
        names = pair.condition._asdict()
        for claim in claims:
            everywhere = [_test(pair, claim, [language]) for language in pair.shared]
            for name, test in (
                (claim, _test(pair, claim, pair.shared)),
                (f"{claim}_everywhere", _every(everywhere)),
            ):
                key = (name, *(names[part] for part in CLAIM_KEYS[1:]))
                tests.setdefault(key, {})[names["protocol"]] = test
    return tests


def _test(pair: Pair, claim: str, languages: Sequence[str]) -> dict[str, Any]:
    """Interval and one-sided p of a claim about the mean over ``languages``."""
    tuned, reference, floor = contrasts.sides(pair, languages)
    difference = tuned.minus(reference)
    test = {"interval_covers": ", ".join(difference.covers), REFUSED: ""}
    if claim == "smoothing_cuts_ece":
        cut = relative_cut(tuned, reference, floor)
        p = reference.minus(tuned).p_above()[ECE]
        return {
            **test,
            "low": cut[REDUCTION[1]],
            "high": cut[REDUCTION[2]],
            "p": float(p),
            REFUSED: cut[REFUSED],
        }
    column = METRICS.index(METRIC_OF_CLAIM[claim])
    low, high = difference.interval()
    bound = -ACCURACY_TOLERANCE if claim == "smoothing_keeps_accuracy" else 0.0
    return {
        **test,
        "low": float(low[column]),
        "high": float(high[column]),
        "p": float(difference.p_above(bound)[column]),
    }


def _every(tests: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The test of a claim about every language, from the tests of each.

    ``low`` is the smallest of their lower bounds. There is no upper bound.
    """
    refused = [test[REFUSED] for test in tests if test[REFUSED]]
    return {
        "interval_covers": tests[0]["interval_covers"],
        "low": float("nan") if refused else float(np.min([test["low"] for test in tests])),
        "high": float("nan"),
        "p": float(np.max([test["p"] for test in tests])),
        REFUSED: f"{len(refused)} of {len(tests)} languages: such as {refused[0]}" if refused else "",
    }
