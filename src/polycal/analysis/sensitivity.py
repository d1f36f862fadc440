"""Whether a claim depends on a convention: every headline claim under every defensible way of measuring.

Two tables: ``rows`` has one row a claim and convention, ``claims`` one a claim, with the number of
conventions under which it holds and the names of those that reverse it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from polycal.analysis.cell_metrics import SERIES, Measured
from polycal.analysis.contrasts import UNSMOOTHED, grouped, paired

ACCURACY_KEPT = 0.005
"""Loss of accuracy that the paper still calls unchanged."""

COLUMNS = (
    "claim",
    *SERIES,
    "candidates",
    "normalise",
    "binning",
    "bins",
    "weighting",
    "estimate",
    "holds",
)
CLAIM_COLUMNS = ("claim", *SERIES[:-1], "conventions", "holds", "estimate", "least", "most", "reversed_by")

TUNING = ("tuning_raises_overconfidence", "tuning_raises_ece")
SMOOTHING = ("smoothing_cuts_ece", "smoothing_keeps_accuracy")


def rows(cells: Sequence[Measured]) -> list[dict[str, Any]]:
    """Every claim of every tuned series, under every convention.

    Claims, with what ``estimate`` is and when it ``holds``:

    - tuning_raises_overconfidence: (confidence - accuracy) of the unsmoothed tuned model less the base's; > 0
    - tuning_raises_ece: ECE of the unsmoothed tuned model less the base's; > 0
    - smoothing_cuts_ece: 1 - ECE / ECE of the unsmoothed; > 0
    - smoothing_keeps_accuracy: accuracy less the unsmoothed's; ≥ -0.005

    ``weighting``: language, the plain mean over languages, or level, the mean of the resource levels' means.
    A claim's name with ``_everywhere`` is about the language where the estimate is least (weighting each).
    """
    found: list[dict[str, Any]] = []
    for contrast, members, reference in paired(grouped(cells)):
        shared = sorted(set(members) & set(reference))
        tuning = contrast == "tuned_minus_base"
        if (
            not shared
            or contrast == "data_minus_data"
            or (tuning and members[shared[0]].cell["beta"] != UNSMOOTHED["beta"])
        ):
            continue
        one, two = [members[language] for language in shared], [reference[language] for language in shared]
        for convention in one[0].points:
            metric = convention[1]
            for claim in TUNING if tuning else SMOOTHING:
                if metric == _METRIC[claim] and all(convention in cell.points for cell in (*one, *two)):
                    found.extend(_claim(claim, convention, one, two))
    return found


_METRIC = {
    "tuning_raises_overconfidence": "gap",
    "tuning_raises_ece": "ece",
    "smoothing_cuts_ece": "ece",
    "smoothing_keeps_accuracy": "accuracy",
}


def _claim(
    claim: str, convention: tuple[str, str, str, int], one: Sequence[Measured], two: Sequence[Measured]
) -> Iterator[dict[str, Any]]:
    normalise, _, binning, bins = convention
    after = np.array([cell.points[convention] for cell in one])
    before = np.array([cell.points[convention] for cell in two])

    def estimate(x: Any, y: Any) -> Any:
        if claim != "smoothing_cuts_ece":
            return x - y
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(y > 0, 1 - np.divide(x, y), np.nan)

    levels = np.array([cell.resource for cell in one])
    by_level = [
        (after[levels == level].mean(), before[levels == level].mean()) for level in sorted({*levels})
    ]
    values = {
        "language": estimate(after.mean(), before.mean()),
        "level": estimate(*np.mean(by_level, axis=0)),
        "each": np.min(estimate(after, before)),
    }
    for weighting, value in values.items():
        yield {
            "claim": f"{claim}_everywhere" if weighting == "each" else claim,
            **{name: one[0].cell[name] for name in SERIES},
            "candidates": one[0].candidates,
            "normalise": normalise,
            "binning": binning,
            "bins": bins,
            "weighting": weighting,
            "estimate": float(value),
            "holds": bool(value >= -ACCURACY_KEPT if claim == "smoothing_keeps_accuracy" else value > 0),
        }


def claims(found: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a claim, model, data, recipe, β, seed and benchmark, over its conventions and protocols.

    ``estimate`` is that under the default convention of the protocol that comes first, ``least`` and
    ``most`` the extremes, ``reversed_by`` the conventions under which the claim does not hold.
    """
    names = ("claim", *SERIES[:-1])
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in found:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    table = []
    for group, members in groups.items():
        values = [row["estimate"] for row in members]
        default = [row["estimate"] for row in members if _is_default(row, settings)]
        table.append(
            {
                **dict(zip(names, group, strict=True)),
                "conventions": len(members),
                "holds": sum(row["holds"] for row in members),
                "estimate": default[0] if default else float("nan"),
                "least": float(np.min(values)),
                "most": float(np.max(values)),
                "reversed_by": "; ".join(_words(row) for row in members if not row["holds"]),
            }
        )
    return table


def _is_default(row: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    binned = row["binning"] == "none" or (row["binning"], row["bins"]) == (
        settings["binning"],
        settings["bins"],
    )
    usual = row["normalise"] == settings["normalise"][row["candidates"]]
    return binned and usual and row["weighting"] in ("language", "each")


def _words(row: Mapping[str, Any]) -> str:
    parts = [row["protocol"], row["normalise"]]
    if row["binning"] != "none":
        parts.append(f"{row['bins']} bins of equal {row['binning']}")
    if row["weighting"] == "level":
        parts.append("levels weighted equally")
    return " ".join(parts)
