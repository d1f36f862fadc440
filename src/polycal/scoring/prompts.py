"""Build the prompt and the candidate answers of a question. A change of any wording here needs a new VERSION.

The English wording is that of lm-evaluation-harness for Global-MMLU: the question, the options with their
letters, and ``Answer:``. A candidate follows after one space. In a chat format the whole prompt is one user
turn. The candidate is the beginning of the assistant's turn, without a space.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from polycal.errors import LanguageError
from polycal.scoring.prompt_labels import ENGLISH, LABELS, Labels
from polycal.vocabulary import LETTERS

VERSION = "1"
"""The version of the wording. It is part of every cell that depends on prompts."""

Candidates = Literal["letters", "texts"]
"""Whether the candidates are the letters of the options or their texts."""
Question = Mapping[str, Any]
"""A row of the schema ``records.QUESTION``."""


class PromptError(LanguageError):
    """No prompt can be built for a question with the settings of its cell."""


class ChatTurn(NamedTuple):
    """The text of a chat format before and after the user's text.

    The assistant's answer follows ``closing``.
    """

    opening: str
    closing: str


@dataclass(frozen=True)
class Prompt:
    """The text that a model reads, and the candidates that are scored as its continuation.

    The text is ``opening``, the ``examples`` and ``question``. Each example ends with a blank line. The
    opening is kept if examples are dropped because the prompt does not fit the model's window.
    """

    examples: tuple[str, ...]
    question: str
    candidates: tuple[str, ...]
    opening: str = ""

    @property
    def prefix(self) -> str:
        """The whole text before a candidate."""
        return self.opening + "".join(self.examples) + self.question


def labels_for(prompt_language: str, language: str) -> Labels:
    """The words before the question and before the answer.

    ``prompt_language`` is ``english`` or ``local``. Raises PromptError if it is ``local`` and there are no
    labels for ``language``.
    """
    if prompt_language == "english":
        return ENGLISH
    if language not in LABELS:
        raise PromptError(
            f"prompt_language 'local' has no labels for language {language!r};"
            f" known: {', '.join(sorted(LABELS))}."
        )
    return LABELS[language]


def question_text(question: Question, candidates: Candidates, labels: Labels = ENGLISH) -> str:
    """The text of one question up to ``Answer:``.

    Raises PromptError if it has more options than letters exist.
    """
    lines = [(f"{labels[0]}: " if labels[0] else "") + question["question"].strip()]
    if candidates == "letters":
        if len(question["options"]) > len(LETTERS):
            raise PromptError(
                f"question {question['question_id']!r} has {len(question['options'])} options, but there are"
                f" {len(LETTERS)} letters; set candidates to texts instead."
            )
        lines += [f"{letter}. {option}" for letter, option in zip(LETTERS, question["options"], strict=False)]
    return "\n".join([*lines, f"{labels[1]}:"])


def candidate_texts(question: Question, candidates: Candidates) -> tuple[str, ...]:
    """The candidates of a question, each with the space that separates it from the prefix."""
    texts = LETTERS[: len(question["options"])] if candidates == "letters" else question["options"]
    return tuple(f" {text.strip()}" for text in texts)


def build_prompt(
    question: Question,
    examples: Sequence[Question],
    candidates: Candidates,
    labels: Labels = ENGLISH,
    turn: ChatTurn | None = None,
) -> Prompt:
    """The prompt of a question, with ``examples`` and their right answers before it.

    If ``turn`` is given, the prompt is in this chat format. Raises PromptError if a question has more options
    than letters exist.
    """
    solved = tuple(
        f"{question_text(e, candidates, labels)}{candidate_texts(e, candidates)[e['gold']]}\n\n"
        for e in examples
    )
    text, answers = question_text(question, candidates, labels), candidate_texts(question, candidates)
    if turn is None:
        return Prompt(solved, text, answers)
    return Prompt(solved, text + turn.closing, tuple(answer.lstrip() for answer in answers), turn.opening)


def neutral_context(labels: Labels = ENGLISH, turn: ChatTurn | None = None) -> str:
    """A prompt without a question, for the unconditional log-likelihoods of PMI scoring.

    The score is the domain-conditional PMI of Holtzman et al. 2021 (arXiv 2104.08315), with lighteval's
    wording.
    """
    opening, closing = turn or ("", "")
    return f"{opening}{labels[1]}:{closing}"


def fewshot_examples(pool: Sequence[Question], group: str, num_fewshot: int) -> list[Question]:
    """The first ``num_fewshot`` examples of a group, in the order of their ids.

    Raises PromptError if the group has fewer, because all questions must have the same number of examples.
    """
    members = sorted((e for e in pool if e["group"] == group), key=lambda e: str(e["question_id"]))
    if len(members) < num_fewshot:
        raise PromptError(
            f"group {group!r} has {len(members)} examples, but num_fewshot is {num_fewshot};"
            " lower num_fewshot or give more examples."
        )
    return members[:num_fewshot]
