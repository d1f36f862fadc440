"""The questions of the benchmark world without their options: each with all accepted names of its answer.

Ids, groups and splits are those of the multiple-choice questions. Test questions about the continent of a territory
in America are left out, because the name of a part, such as South America, would be right too.
"""

from collections.abc import Iterable
from typing import Any

from polycal.data.world.names import Names, Thing
from polycal.data.world.questions import Question

LEFT_OUT = frozenset((Thing("territory", "019"),))
"""Answers for which names of other things are right too: America."""


def open_questions(questions: Iterable[Question]) -> list[Question]:
    """The test questions that have one right answer without options, and all examples."""
    return [
        question
        for question in questions
        if question.split == "examples" or question.options[question.gold] not in LEFT_OUT
    ]


def row(question: Question, names: Names, language: str) -> dict[str, Any]:
    """A question in one language, in the columns of polycal's files of questions without options."""
    return {
        "question_id": question.id,
        "group": question.group,
        "split": question.split,
        "question": (names.of(question.subject) or ())[names.languages.index(language)],
        "answers": names.accepted(question.options[question.gold], language),
    }
