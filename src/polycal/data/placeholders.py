"""Placeholders among options: MMLU-Pro writes N/A for the missing options of a question with fewer than ten."""

from collections.abc import Mapping, Sequence

from polycal.artifacts.records import RecordError

PLACEHOLDERS = {"n/a", "#n/a"}
"""Texts that mean a missing option, in lower case."""

LeftOut = dict[tuple[str, str], int]
"""Number of removed placeholders by split and question_id."""


def without_placeholders(options: Sequence[str], gold: int, where: str) -> tuple[list[str], int]:
    """The options that are not placeholders, in their order, and the index of the right option among them.

    Raises RecordError if ``gold`` is the index of a placeholder.
    """
    is_real = [option.strip().lower() not in PLACEHOLDERS for option in options]
    if not is_real[gold]:
        raise RecordError(
            f"{where}: the right option is {options[gold]!r}, which marks a missing option; it must be a real"
            " option."
        )
    kept = [option for option, real in zip(options, is_real, strict=True) if real]
    return kept, sum(is_real[:gold])


def counts(left_out: LeftOut, questions: Sequence[Mapping[str, str]]) -> dict[str, int]:
    """Number of placeholders that were removed from ``questions``, by split."""
    totals = {"test": 0, "examples": 0}
    for question in questions:
        totals[question["split"]] += left_out.get((question["split"], question["question_id"]), 0)
    return totals
