"""The findings of a study in sentences: each claim of the paper beside the measured values."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd

from polycal.report import base_accuracy, study_holes, study_tables
from polycal.report.study_tables import StudyTables
from polycal.vocabulary import ACCURACY_TOLERANCE, NONE, RESOURCE_LEVELS

PUBLISHED_BETA = "0.1"
"""The β that halves the ECE according to the paper (arXiv 2601.01362)."""


OVERCONFIDENCE_RULE = (
    "yes: in every cell the gap rose and its interval is above 0; partly: the gap rose in every cell; mixed: the interval"
    " is above 0 in at least half of the cells; no: otherwise."
)
ACCURACY_RULE = (
    "yes: the interval of the change of accuracy is above 0 in at most 5% of the cells; partly: the mean change is not"
    " above 0; mixed: the interval is above 0 in at most half of the cells; no: otherwise."
)
ECE_RULE = (
    "yes: for every model and data set the interval of the reduction is above 0; partly: every reduction is above 0;"
    " mixed: the interval is above 0 for at least half of them; no: otherwise."
)
PUBLISHED_ECE_RULE = ECE_RULE.replace("; partly", ", and one reduction is at least 40%; partly")
KEPT_RULE = (
    f"yes: for every model and data set accuracy changes by at most {ACCURACY_TOLERANCE}; partly: it falls by at most that"
    " everywhere; mixed: for at least half of them it changes by at most that; no: otherwise."
)

LOST, ALL_GUESS = "results are missing", "no base model is above chance"
"""Why a claim cannot be checked."""

Verdict = Literal["yes", "partly", "mixed", "no", "unknown"]


@dataclass(frozen=True)
class ClaimCheck:
    """A claim of the paper, what was measured here, and whether the two agree.

    ``support`` is the number of comparisons that agree on their own, and for ``partly`` what they have in
    common. ``rule`` explains how the verdict
    follows from them.
    """

    claim: str
    measured: str
    agrees: Verdict
    rule: str = "unknown: nothing that the claim is about was measured."
    support: str = ""


def claim_checks(study: StudyTables) -> list[ClaimCheck]:
    """One check per claim, benchmark and protocol; empty for a study without tuned checkpoints.

    A check uses the comparisons that exist. If one is missing, the sentence says so and the verdict is at
    best ``partly``. If all are missing, it is ``unknown``. Of several trainings, the mean over all of them is one
    comparison. Comparisons in a language with a base model that is not above chance are left out, and the
    sentence gives their number. Means over languages include such languages.
    """
    contrasts = study.get("contrasts")
    if contrasts.empty:
        return []
    contrasts = study_tables.over_trainings(contrasts)
    contrasts = contrasts.assign(base_at_chance=base_accuracy.at_chance(study, contrasts))
    checks: list[ClaimCheck] = []
    for benchmark, protocol in sorted(set(zip(contrasts.benchmark, contrasts.protocol, strict=True))):
        scored = contrasts[(contrasts.benchmark == benchmark) & (contrasts.protocol == protocol)]
        checks += _of_benchmark(scored, f"{benchmark}, {protocol}")
    return checks


def _of_benchmark(contrasts: pd.DataFrame, where: str) -> Iterator[ClaimCheck]:
    means = ["mean", "all", *RESOURCE_LEVELS]
    tuned = contrasts[(contrasts.contrast == "tuned_minus_base") & (contrasts.beta == "0")]
    # the row of a mean contains the number of its missing languages
    over_languages = tuned[(tuned.language == "mean") & (tuned.metric == "gap")]
    lost = int(study_tables.hole_counts(over_languages).sum())
    tuned = tuned[~tuned.language.isin(means)]
    for metric, check in (("gap", _overconfidence), ("accuracy", _accuracy_after_tuning)):
        rows = tuned[tuned.metric == metric]
        if len(rows) or lost:
            guesses = int(rows.base_at_chance.sum())
            yield _left_out(check(rows[~rows.base_at_chance], lost, where), guesses)
    smoothed = contrasts[(contrasts.contrast == "smoothed_minus_unsmoothed") & (contrasts.language == "mean")]
    for beta in sorted(set(smoothed.beta), key=float):
        ece = smoothed[(smoothed.metric == "ece") & (smoothed.beta == beta)]
        accuracy = smoothed[(smoothed.metric == "accuracy") & (smoothed.beta == beta)]
        if len(ece):
            yield _smoothing_lowers_ece(ece, beta, where)
            if len(accuracy):
                yield _smoothing_keeps_accuracy(accuracy, beta, where)


def _overconfidence(gap: pd.DataFrame, lost: int, where: str) -> ClaimCheck:
    claim = "Tuning on instruction data makes models over-confident in every language, also in unseen ones."
    if gap.empty:
        return _unknown(claim, where, LOST if lost else ALL_GUESS)
    certain, rose = int((gap.low > 0).sum()), int((gap.difference > 0).sum())
    agrees = _agreement(certain == len(gap) and not lost, rose == len(gap), certain >= 0.5 * len(gap))
    return ClaimCheck(
        claim,
        f"{where}: confidence minus accuracy rose in {rose} of {len(gap)} cells"
        f" (interval above zero in {certain}), by {gap.difference.mean():.3f} on average.{_lost_cells(lost)}",
        agrees,
        OVERCONFIDENCE_RULE,
        _support(agrees, certain, rose, len(gap)),
    )


def _left_out(check: ClaimCheck, guesses: int) -> ClaimCheck:
    """``check`` with the number of comparisons that do not count, because their base model guesses."""
    if not guesses:
        return check
    words = f" Left out, because the base model is not above chance: {guesses}."
    return replace(check, measured=check.measured + words)


def _lost_cells(lost: int) -> str:
    return f" Not compared, because a result is missing: {lost}." if lost else ""


def _unknown(claim: str, where: str, why: str = LOST) -> ClaimCheck:
    return ClaimCheck(claim, f"{where}: cannot be checked, because {why}.", "unknown")


def _accuracy_after_tuning(accuracy: pd.DataFrame, lost: int, where: str) -> ClaimCheck:
    if accuracy.empty:
        return _unknown("Tuning does not raise accuracy.", where, LOST if lost else ALL_GUESS)
    gained = int((accuracy.low > 0).sum())
    few = gained <= 0.05 * len(accuracy)
    return ClaimCheck(
        "Tuning does not raise accuracy.",
        f"{where}: accuracy changed by {accuracy.difference.mean():+.3f} on average; the interval is above"
        f" zero in {gained} of {len(accuracy)} cells.{_lost_cells(lost)}",
        # one interval in forty is above zero by chance alone, so a few of them are no contradiction
        _agreement(
            few and not lost,
            few if lost else bool(accuracy.difference.mean() <= 0),
            gained <= 0.5 * len(accuracy),
        ),
        ACCURACY_RULE,
        f"{len(accuracy) - gained} of {len(accuracy)}",
    )


def _smoothing_lowers_ece(ece: pd.DataFrame, beta: str, where: str) -> ClaimCheck:
    published = beta == PUBLISHED_BETA
    size = ", by up to half (published: 0.171 to 0.087)" if published else ""
    claim = f"Smoothing with β = {beta} lowers ECE{size}."
    ece, lost = _there(ece)
    if ece.empty:
        return _unknown(claim, where)
    reductions = "; ".join(
        f"{row['model']} on {row['data']} {_reduction_in_words(row)}" for row in ece.to_dict("records")
    )
    halved = not published or ece.relative_ece_reduction.max() >= 0.4
    certain = int((ece.relative_ece_reduction_low > 0).sum())
    fell = int((ece.relative_ece_reduction > 0).sum())
    agrees = _agreement(
        bool(certain == len(ece) and halved and not lost), fell == len(ece), certain >= 0.5 * len(ece)
    )
    return ClaimCheck(
        claim,
        f"{where}: relative reduction of ECE: {reductions}{lost}.",
        agrees,
        PUBLISHED_ECE_RULE if published else ECE_RULE,
        _support(agrees, certain, fell, len(ece)),
    )


def _smoothing_keeps_accuracy(accuracy: pd.DataFrame, beta: str, where: str) -> ClaimCheck:
    claim = f"Smoothing with β = {beta} changes accuracy by at most {ACCURACY_TOLERANCE}."
    accuracy, lost = _there(accuracy)
    if accuracy.empty:
        return _unknown(claim, where)
    largest = accuracy.iloc[int(accuracy.difference.abs().to_numpy().argmax())]
    kept = int((accuracy.difference.abs() <= ACCURACY_TOLERANCE).sum())
    not_lower = int((accuracy.difference >= -ACCURACY_TOLERANCE).sum())
    agrees = _agreement(
        bool(kept == len(accuracy) and not lost), not_lower == len(accuracy), kept >= 0.5 * len(accuracy)
    )
    return ClaimCheck(
        claim,
        f"{where}: the largest change is {largest.difference:+.3f} [{largest.low:+.3f}, {largest.high:+.3f}]"
        f" ({largest.model} on {largest.data}){lost}.",
        agrees,
        KEPT_RULE,
        f"{kept} of {len(accuracy)}" + (f"; no larger fall in {not_lower}" if agrees == "partly" else ""),
    )


def _there(means: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The contrasts of means over languages without a missing cell, and the names of the others in words."""
    holes = study_tables.hole_counts(means) > 0
    named = [
        f"{row['model']} on {row['data']} {study_holes.FAILED}" for row in means[holes].to_dict("records")
    ]
    return means[~holes], "".join(f"; {words}" for words in named)


def relative_reduction(contrast: Mapping[Any, Any]) -> str:
    """The relative reduction of ECE in a row of ``contrasts``, in percent with its 95% interval.

    If the table refuses it, because the reference's ECE may be chance alone, the text says so.
    """
    if pd.isna(contrast["relative_ece_reduction"]):
        return "not given (near the noise floor)"
    value, low, high = (100 * contrast[f"relative_ece_reduction{end}"] for end in ("", "_low", "_high"))
    return f"{value:.0f}% [{low:.0f}, {high:.0f}]"


def _reduction_in_words(contrast: Mapping[Any, Any]) -> str:
    if contrast["relative_ece_reduction"] >= 0:
        return relative_reduction(contrast)
    ends = {"": "", "_low": "_high", "_high": "_low"}
    rise = {f"relative_ece_reduction{end}": -contrast[f"relative_ece_reduction{ends[end]}"] for end in ends}
    return f"none, ECE rose by {relative_reduction(rise)}"


def _support(agrees: Verdict, certain: int, weakly: int, n: int) -> str:
    """How many of ``n`` comparisons agree: beyond chance, or for ``partly`` also without regard to chance."""
    return f"{weakly} of {n}, {certain} beyond chance" if agrees == "partly" else f"{certain} of {n}"


def _agreement(wholly: bool, partly: bool, mixed: bool) -> Verdict:
    return "yes" if wholly else "partly" if partly else "mixed" if mixed else "no"


def summary(study: StudyTables) -> list[str]:
    """The study in a few sentences per benchmark and protocol.

    Values are unweighted means over models, data sets, trainings and languages.
    """
    means = study_tables.over_trainings(study["means"])
    means = means[means.group == "all"]
    paragraphs = []
    for (benchmark, protocol), scored in means.groupby(["benchmark", "protocol"]):
        levels = study_tables.complete_means(scored, "beta", ["accuracy", "confidence", "ece"])
        by_beta = {str(beta): row for beta, row in levels.to_dict("index").items()}
        languages = int((scored.languages + study_tables.hole_counts(scored)).max())
        sentences = [f"{benchmark}, {protocol}, mean over {languages} languages."]
        if NONE in by_beta:
            sentences.append(f"Base models: {_levels(by_beta[NONE])}.")
        if "0" in by_beta:
            sentences.append(f"After tuning without smoothing: {_levels(by_beta['0'])}.")
        for beta in sorted((beta for beta in by_beta if beta not in (NONE, "0")), key=float):
            sentences.append(f"With β = {beta}: {_levels(by_beta[beta])}.")
        sentences.append(_temperature(study, str(benchmark), str(protocol)))
        sentences.append(_at_chance(study["cells"], str(benchmark), str(protocol)))
        paragraphs.append(" ".join(sentence for sentence in sentences if sentence))
    return paragraphs


def _levels(row: Mapping[Any, float]) -> str:
    if pd.isna(row["ece"]):
        return "no mean, because cells are missing"
    return f"accuracy {row['accuracy']:.1%}, confidence {row['confidence']:.1%}, ECE {row['ece']:.3f}"


def _temperature(study: StudyTables, benchmark: str, protocol: str) -> str:
    """The effect of an English temperature on the ECE of unsmoothed models, on the evaluation questions."""
    table = study.get("recalibration")
    if table.empty:
        return ""
    table = study_tables.over_trainings(table)
    chosen = table[(table.benchmark == benchmark) & (table.protocol == protocol) & (table.language == "mean")]
    ece = study_tables.complete_means(chosen[chosen.beta == "0"], "method", ["ece"]).ece
    if not {"none", "english"} <= set(ece.index) or ece[["none", "english"]].isna().any():
        return ""
    return (
        "A single temperature, fitted on a fifth of the English questions after training, changes the ECE of the"
        f" unsmoothed models from {ece['none']:.3f} to {ece['english']:.3f} on the other four fifths."
    )


def _at_chance(cells: pd.DataFrame, benchmark: str, protocol: str) -> str:
    scored = cells[(cells.benchmark == benchmark) & (cells.protocol == protocol)]
    at_chance = int((~scored.above_chance).sum()) if "above_chance" in scored else 0
    if not at_chance:
        return ""
    return (
        f"In {at_chance} of {len(scored)} cells accuracy is not distinguishable from chance, so their"
        " calibration is that of guessing."
    )
