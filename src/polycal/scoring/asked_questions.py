"""How the questions of a file are asked: with which prompts, and how their scores become one row for each question."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from polycal.artifacts import order_spread
from polycal.scoring import option_order, question_prompts
from polycal.scoring.candidate_scores import CandidateScores
from polycal.scoring.prompts import Prompt
from polycal.scoring.question_prompts import Asking, Cell

Row = Mapping[str, Any]


@dataclass(frozen=True)
class AskedQuestions:
    """The questions of a file with their prompts.

    - ``rows``: the questions, and ``first``: the first prompt of each.
    - ``prompts``: all prompts. They begin with those of ``first``, so that an error names the right question.
    - ``answers``: a function of the scores of all prompts that returns, for each question, the columns
      option_logprob, option_tokens and those of ``columns``.
    """

    rows: list[dict[str, Any]]
    first: list[Prompt]
    prompts: list[Prompt]
    answers: Callable[[CandidateScores], list[dict[str, Any]]]
    columns: tuple[pa.Field, ...] = ()


def ask(cell: Cell, questions: Path, examples: Path | None = None) -> AskedQuestions:
    """The test questions of a file, asked with the settings of a cell. Raises RecordError or PromptError."""
    asking, settings = question_prompts.read(cell, questions, examples), cell["settings"]
    first = [asking.prompt(row, settings["candidates"]) for row in asking.rows]
    if settings.get("rotations", 1) > 1:
        return _in_several_orders(asking, first, settings)
    return AskedQuestions(asking.rows, first, first, _scores)


def _scores(scores: CandidateScores) -> list[dict[str, Any]]:
    return [
        {"option_logprob": logprob, "option_tokens": tokens}
        for logprob, tokens in zip(scores.logprob, scores.tokens, strict=True)
    ]


def _in_several_orders(asking: Asking, first: list[Prompt], settings: Row) -> AskedQuestions:
    """The questions in the setting ``rotations`` orders of their options. The examples stay in one order."""
    shifts = [option_order.shifts(len(row["options"]), settings["rotations"]) for row in asking.rows]
    orders = [
        (number, of_question[order])
        for order in range(1, settings["rotations"])
        for number, of_question in enumerate(shifts)
        if order < len(of_question)
    ]
    more = [
        asking.prompt(option_order.rotated(asking.rows[number], shift), settings["candidates"])
        for number, shift in orders
    ]

    def answers(scores: CandidateScores) -> list[dict[str, Any]]:
        of_question: list[list[Sequence[float]]] = [[logprob] for logprob in scores.logprob[: len(first)]]
        for (number, shift), logprob in zip(orders, scores.logprob[len(first) :], strict=True):
            of_question[number].append(option_order.in_first_order(logprob, shift))
        means = [option_order.mean_over_orders(logprob) for logprob in of_question]
        return [
            {
                "option_logprob": mean.tolist(),
                "option_tokens": tokens,
                order_spread.FIELD.name: spread,
            }
            for (mean, spread), tokens in zip(means, scores.tokens, strict=False)
        ]

    return AskedQuestions(asking.rows, first, [*first, *more], answers, (order_spread.FIELD,))
