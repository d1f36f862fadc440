"""How the questions of a file are asked: with which prompts, and how their scores become one row for each question."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from polycal.artifacts import follow_ups as follow_up_columns
from polycal.artifacts import order_spread
from polycal.artifacts.candidate_forms import P_TRUE
from polycal.scoring import follow_ups, option_order, question_prompts, true_or_false
from polycal.scoring.candidate_scores import CandidateScores
from polycal.scoring.follow_ups import FollowUp
from polycal.scoring.prompts import Prompt
from polycal.scoring.question_prompts import Asking, Cell

Row = Mapping[str, Any]


@dataclass(frozen=True)
class AskedQuestions:
    """The questions of a file with their prompts.

    - ``rows``: the questions, and ``first``: the first prompt of each.
    - ``prompts``: all prompts. They begin with those of ``first``, so that an error names the right question.
    - ``answers``: a function of the scores of all prompts that returns, for each question, the columns
      option_logprob, option_tokens, option_bytes and those of ``columns``.
    - ``follow_up``: what is asked about the chosen option, or None.
    """

    rows: list[dict[str, Any]]
    first: list[Prompt]
    prompts: list[Prompt]
    answers: Callable[[CandidateScores], list[dict[str, Any]]]
    columns: tuple[pa.Field, ...] = ()
    follow_up: FollowUp | None = None


def ask(cell: Cell, questions: Path, examples: Path | None = None) -> AskedQuestions:
    """The test questions of a file, asked with the settings of a cell. Raises RecordError or PromptError."""
    asking, settings = question_prompts.read(cell, questions, examples), cell["settings"]
    if settings["candidates"] in P_TRUE:
        return _whether_true(asking, settings["candidates"], bool(settings.get("pmi")))
    first = [asking.prompt(row, settings["candidates"]) for row in asking.rows]
    if settings.get("rotations", 1) > 1:
        return _in_several_orders(asking, first, settings)
    follow_up = follow_ups.follow_up(settings, str(cell.get("language")), asking.turn)
    if follow_up is not None:
        return _with_follow_up(asking, first, follow_up)
    return AskedQuestions(asking.rows, first, first, lambda scores: _lengths(first, scores, scores.logprob))


def _with_follow_up(asking: Asking, first: list[Prompt], follow_up: FollowUp) -> AskedQuestions:
    """The questions with a follow-up about the chosen option."""

    def answers(scores: CandidateScores) -> list[dict[str, Any]]:
        names = [field.name for field in follow_up_columns.FIELDS]
        return [
            {**row, **dict(zip(names, found, strict=True))}
            for row, found in zip(_lengths(first, scores, scores.logprob), scores.follow_ups, strict=True)
        ]

    return AskedQuestions(asking.rows, first, first, answers, follow_up_columns.FIELDS, follow_up)


def _lengths(
    first: Sequence[Prompt], scores: CandidateScores, logprob: Sequence[Sequence[float]]
) -> list[dict[str, Any]]:
    """The columns of questions with the log-likelihoods ``logprob``. The lengths are those in the first prompts."""
    return [
        {
            "option_logprob": list(values),
            "option_tokens": tokens,
            # The space between prompt and candidate does not count.
            "option_bytes": [len(text.strip().encode()) for text in prompt.candidates],
        }
        for prompt, tokens, values in zip(first, scores.tokens, logprob, strict=False)
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
        means, spreads = _unzipped(map(option_order.mean_over_orders, of_question))
        return _with_spread(_lengths(first, scores, means), spreads)

    return AskedQuestions(asking.rows, first, [*first, *more], answers, (order_spread.FIELD,))


def _whether_true(asking: Asking, form: str, pmi: bool) -> AskedQuestions:
    """The questions with each option proposed as the answer. Its own tokens have no likelihood in the result.

    With ``pmi``, the prompt without a question is asked too, once for each group that has other examples.
    """
    first = [
        true_or_false.build_prompt(row, asking.fewshot[row["group"]], form, asking.turn)
        for row in asking.rows
    ]
    content_free = {
        group: true_or_false.content_free_prompt(examples, form, asking.turn)
        for group, examples in (asking.fewshot if pmi else {}).items()
    }
    more = list(dict.fromkeys(content_free.values()))

    def answers(scores: CandidateScores) -> list[dict[str, Any]]:
        found = dict(zip(more, scores.logprob[len(first) :], strict=True))
        taken_off = {group: found[prompt] for group, prompt in content_free.items()}
        means, spreads = _unzipped(
            true_or_false.p_true(logprob, taken_off.get(row["group"]))
            for row, logprob in zip(asking.rows, scores.logprob, strict=False)
        )
        rows = [
            {
                "option_logprob": mean,
                "option_tokens": None,
                "option_bytes": [len(option.strip().encode()) for option in row["options"]],
            }
            for row, mean in zip(asking.rows, means, strict=True)
        ]
        return _with_spread(rows, spreads)

    return AskedQuestions(asking.rows, first, [*first, *more], answers, (order_spread.FIELD,))


def _unzipped(means: Iterable[tuple[NDArray[np.float64], float]]) -> tuple[list[list[float]], list[float]]:
    pairs = list(means)
    return [mean.tolist() for mean, _ in pairs], [spread for _, spread in pairs]


def _with_spread(rows: Sequence[dict[str, Any]], spreads: Sequence[float]) -> list[dict[str, Any]]:
    return [{**row, order_spread.FIELD.name: spread} for row, spread in zip(rows, spreads, strict=True)]
