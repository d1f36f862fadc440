"""Sensitivity of each headline claim to conventions: every claim under every defensible way to measure it.

The table sensitivity has one row per claim and convention. The table claims has one row per claim, with the
number of conventions under which it holds and the names of those under which it does not. The table
normalisations has every cell under each normalisation of the log-likelihoods.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from polycal.analysis.cell_metrics import Convention, MeasuredCell
from polycal.analysis.conditions import (
    SMOOTHED_MINUS_UNSMOOTHED,
    TUNED_MINUS_BASE,
    UNSMOOTHED,
    Condition,
)
from polycal.analysis.contrasts import Pair, paired
from polycal.analysis.holes import NO_GAPS, Gaps
from polycal.analysis.intervals import false_discovery_any
from polycal.analysis.pooling import by_condition
from polycal.analysis.relative_cut import REFUSED
from polycal.analysis.score_set import normalisation
from polycal.vocabulary import ACCURACY_TOLERANCE, CELL_KEYS

CLAIM_KEYS = ("claim", *(name for name in Condition._fields if name != "protocol"))
COLUMNS = (
    "claim",
    *Condition._fields,
    "candidates",
    "normalise",
    "binning",
    "bins",
    "weighting",
    "estimate",
    "holds",
)
TEST_COLUMNS = ("low", "high", "p", "q", REFUSED, "interval_covers")
CLAIM_COLUMNS = (
    *CLAIM_KEYS,
    "conventions",
    "holes",
    "holds",
    "estimate",
    "least",
    "most",
    "reversed_by",
    *TEST_COLUMNS,
)

NORMALISATION_COLUMNS = (*CELL_KEYS, "normalise", "accuracy", "gap", "ece")

TUNING = ("tuning_raises_overconfidence", "tuning_raises_ece")
SMOOTHING = ("smoothing_cuts_ece", "smoothing_keeps_accuracy")
NO_TEST = {**dict.fromkeys(("low", "high", "p"), float("nan")), REFUSED: "", "interval_covers": ""}
METRIC_OF_CLAIM = {
    "tuning_raises_overconfidence": "gap",
    "tuning_raises_ece": "ece",
    "smoothing_cuts_ece": "ece",
    "smoothing_keeps_accuracy": "accuracy",
}


ClaimHoles = Mapping[tuple[str, ...], Mapping[str, int]]
"""The number of missing languages, by CLAIM_KEYS and then by protocol."""
ClaimTests = Mapping[tuple[str, ...], Mapping[str, Mapping[str, Any]]]
"""The values of TEST_COLUMNS without q, by CLAIM_KEYS and then by protocol."""


def claimed(cells: Sequence[MeasuredCell], gaps: Gaps) -> Iterator[tuple[Pair, tuple[str, ...]]]:
    """The pairs of conditions that claims are about, each with the names of its claims."""
    for pair in paired(by_condition(cells, gaps), gaps):
        if pair.contrast == TUNED_MINUS_BASE and pair.condition.beta == UNSMOOTHED:
            yield pair, TUNING
        elif pair.contrast == SMOOTHED_MINUS_UNSMOOTHED:
            yield pair, SMOOTHING


def claim_holes(cells: Sequence[MeasuredCell], gaps: Gaps) -> dict[tuple[str, ...], dict[str, int]]:
    """The claims about pairs of conditions that lack a language according to ``gaps``, as ClaimHoles."""
    found: dict[tuple[str, ...], dict[str, int]] = {}
    for pair, claims in claimed(cells, gaps):
        if pair.holes:
            names = pair.condition._asdict()
            for claim in [name + end for name in claims for end in ("", "_everywhere")]:
                key = (claim, *(names[name] for name in CLAIM_KEYS[1:]))
                found.setdefault(key, {})[names["protocol"]] = pair.holes
    return found


def sensitivity_rows(cells: Sequence[MeasuredCell], gaps: Gaps = NO_GAPS) -> list[dict[str, Any]]:
    """Every claim about every tuned condition, under every convention.

    The claims, what their ``estimate`` is, and when they hold:

    - tuning_raises_overconfidence: the gap (confidence − accuracy) of the unsmoothed tuned model minus the
      base's; > 0
    - tuning_raises_ece: ECE of the unsmoothed tuned model minus the base's; > 0
    - smoothing_cuts_ece: 1 − ECE / (ECE of the unsmoothed model); > 0
    - smoothing_keeps_accuracy: accuracy minus the unsmoothed model's; ≥ −ACCURACY_TOLERANCE

    ``weighting`` is ``language`` for the plain mean over languages, and ``level`` for the mean of the means
    of the resource levels. A claim whose name ends in ``_everywhere`` is about the language with the smallest
    estimate (weighting ``each``). Pairs of conditions that lack a language according to ``gaps`` have no
    rows.
    """
    rows: list[dict[str, Any]] = []
    for pair, claims in claimed(cells, gaps):
        if pair.holes:
            continue
        tuned, reference = (
            [pair.members[language] for language in pair.shared],
            [pair.references[language] for language in pair.shared],
        )
        for convention in tuned[0].under_conventions:
            for claim in claims:
                if convention.metric == METRIC_OF_CLAIM[claim] and all(
                    convention in cell.under_conventions for cell in (*tuned, *reference)
                ):
                    rows.extend(check_claim(claim, convention, tuned, reference))
    return rows


def check_claim(
    claim: str, convention: Convention, tuned: Sequence[MeasuredCell], reference: Sequence[MeasuredCell]
) -> Iterator[dict[str, Any]]:
    """One row per weighting of the languages.

    ``tuned`` and ``reference`` have one cell per language, in the same order.
    """
    after = np.array([cell.under_conventions[convention] for cell in tuned])
    before = np.array([cell.under_conventions[convention] for cell in reference])

    def estimate(x: Any, y: Any) -> Any:
        if claim != "smoothing_cuts_ece":
            return x - y
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(y > 0, 1 - np.divide(x, y), np.nan)

    levels = np.array([cell.resource for cell in tuned])
    by_level = [
        (after[levels == level].mean(), before[levels == level].mean()) for level in sorted({*levels})
    ]
    values = {
        "language": estimate(after.mean(), before.mean()),
        "level": estimate(*np.mean(by_level, axis=0)),
        "each": np.min(estimate(after, before)),
    }
    for weighting, value in values.items():
        keeps = claim == "smoothing_keeps_accuracy"
        yield {
            "claim": f"{claim}_everywhere" if weighting == "each" else claim,
            **tuned[0].condition._asdict(),
            "candidates": tuned[0].candidates,
            "normalise": convention.normalise,
            "binning": convention.binning,
            "bins": convention.bins,
            "weighting": weighting,
            "estimate": float(value),
            "holds": bool(value >= -ACCURACY_TOLERANCE if keeps else value > 0),
        }


def normalisation_rows(
    cells: Sequence[MeasuredCell], settings: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Accuracy, gap and ECE of every cell under each normalisation, with the study's bins and without intervals.

    A cell whose candidates have the same length in every way has the same values in each row. ECE is NaN if
    the study's bins are not among those of ``settings["sensitivity"]``.
    """
    for cell in cells:
        values = cell.under_conventions
        for normalise in dict.fromkeys(convention.normalise for convention in values):
            binned = Convention(normalise, "ece", settings["binning"], settings["bins"])
            yield {
                **cell.cell,
                "normalise": normalise,
                "accuracy": values[Convention(normalise, "accuracy", "none", 0)],
                "gap": values[Convention(normalise, "gap", "none", 0)],
                "ece": values.get(binned, float("nan")),
            }


def claim_rows(
    sensitivity: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    holes: ClaimHoles = MappingProxyType({}),
    tests: ClaimTests = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """One row per claim, model, base seed, data, recipe, β, seed and benchmark.

    ``estimate`` is the value under the default convention of the first protocol, and NaN if that protocol
    lacks a language. ``least`` and ``most`` are the extremes over all conventions and protocols.
    ``reversed_by`` lists the conventions under which the claim does not hold. ``conventions`` counts the
    conventions of protocols without a missing language. ``holes`` counts the missing languages of the other
    protocols.

    ``low``, ``high`` and ``p`` are from ``tests``, for the convention and protocol of ``estimate``. q is p
    adjusted for the false discovery rate over all claims of the table.
    """
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in sensitivity:
        groups.setdefault(tuple(row[name] for name in CLAIM_KEYS), []).append(row)
    for group in sorted(holes):
        groups.setdefault(group, [])
    table = []
    for group, members in groups.items():
        values = [row["estimate"] for row in members] or [float("nan")]
        default = [row for row in members if _is_default(row, settings)]
        missing = holes.get(group, {})
        known = bool(default) and all(default[0]["protocol"] < protocol for protocol in missing)
        test = tests.get(group, {}).get(default[0]["protocol"], NO_TEST) if known else NO_TEST
        table.append(
            {
                **dict(zip(CLAIM_KEYS, group, strict=True)),
                "conventions": len(members),
                "holes": sum(missing.values()),
                "holds": sum(row["holds"] for row in members),
                "estimate": default[0]["estimate"] if known else float("nan"),
                "least": float(np.min(values)),
                "most": float(np.max(values)),
                "reversed_by": "; ".join(_describe(row) for row in members if not row["holds"]),
                **test,
            }
        )
    q = false_discovery_any(np.array([row["p"] for row in table]))
    return [{**row, "q": float(value)} for row, value in zip(table, q, strict=True)]


def _is_default(row: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether a row has the study's own conventions."""
    default_bins = row["binning"] == "none" or (row["binning"], row["bins"]) == (
        settings["binning"],
        settings["bins"],
    )
    default_normalisation = row["normalise"] == normalisation(settings, row["candidates"])
    return default_bins and default_normalisation and row["weighting"] in ("language", "each")


def _describe(row: Mapping[str, Any]) -> str:
    """A convention in words."""
    parts = [row["protocol"], row["normalise"]]
    if row["binning"] != "none":
        parts.append(f"{row['bins']} bins of equal {row['binning']}")
    if row["weighting"] == "level":
        parts.append("levels weighted equally")
    return " ".join(parts)
