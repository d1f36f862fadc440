"""Placeholders among options: MMLU-Pro writes N/A where a question has fewer than ten options."""

from collections.abc import Mapping, Sequence

from polycal.artifacts.records import RecordError

PLACEHOLDERS = {"n/a", "#n/a"}
"""Texts that are no option, in lower case."""

LeftOut = dict[tuple[str, str], int]
"""Number of placeholders by split and question_id."""


def without_placeholders(options: Sequence[str], gold: int, where: str) -> tuple[list[str], int]:
    """The real options, in their order, and the index of the right one among them.

    Raises RecordError if ``gold`` is the index of a placeholder.
    """
    is_real = [option.strip().lower() not in PLACEHOLDERS for option in options]
    if not is_real[gold]:
        raise RecordError(
            f"{where}: the right option is {options[gold]!r}, which marks an option that is not there; it must"
            " be a real one."
        )
    kept = [option for option, real in zip(options, is_real, strict=True) if real]
    return kept, sum(is_real[:gold])


def counts(left_out: LeftOut, kept: Sequence[Mapping[str, str]]) -> dict[str, int]:
    """Placeholders of the questions ``kept``, by split."""
    totals = {"test": 0, "examples": 0}
    for question in kept:
        totals[question["split"]] += left_out.get((question["split"], question["question_id"]), 0)
    return totals
