"""How a question becomes a prompt and its candidate answers. A change of any wording here needs a new
VERSION.

The English wording is the one of lm-evaluation-harness for Global-MMLU: the question, the options with their
letters, and ``Answer:``. A candidate follows after one space. In a chat format the whole prompt is one user
turn; the candidate starts the assistant's turn, without a space.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from polycal.errors import LanguageError
from polycal.scoring.prompt_labels import ENGLISH, LABELS, Labels
from polycal.vocabulary import LETTERS

VERSION = "1"
"""Of all wording: part of every cell that depends on prompts."""

Candidates = Literal["letters", "texts"]
Question = Mapping[str, Any]


class PromptError(LanguageError):
    """A question that cannot be asked with the chosen settings; the message names the setting to change."""


class ChatTurn(NamedTuple):
    """The text of a chat format around the user's words; ``closing`` ends where the assistant begins."""

    opening: str
    closing: str


@dataclass(frozen=True)
class Prompt:
    """The text that a model reads, and the candidates that may continue it.

    ``examples`` each end in a blank line and come before ``question``. ``opening`` comes before the examples
    and remains when examples are dropped to fit the model's window.
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
    """The words before question and answer.

    ``prompt_language`` is ``english`` or ``local``. Raises PromptError if it is ``local`` and the table has
    no labels for ``language``.
    """
    if prompt_language == "english":
        return ENGLISH
    if language not in LABELS:
        raise PromptError(
            f"prompt_language 'local' has no labels for language {language!r};"
            f" known: {', '.join(sorted(LABELS))}"
        )
    return LABELS[language]


def question_text(question: Question, candidates: Candidates, labels: Labels = ENGLISH) -> str:
    """One question up to and including ``Answer:``.

    Raises PromptError if it has more options than there are letters.
    """
    lines = [(f"{labels[0]}: " if labels[0] else "") + question["question"].strip()]
    if candidates == "letters":
        if len(question["options"]) > len(LETTERS):
            raise PromptError(
                f"question {question['question_id']!r} has {len(question['options'])} options, but there are"
                f" {len(LETTERS)} letters; set candidates to texts instead"
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
    """The prompt of a question after its solved ``examples``.

    With a ``turn`` the prompt is in that chat format. Raises PromptError for more options than letters.
    """
    solved = tuple(
        f"{question_text(e, candidates, labels)}{candidate_texts(e, candidates)[e['gold']]}\n\n"
        for e in examples
    )
    asked, answers = question_text(question, candidates, labels), candidate_texts(question, candidates)
    if turn is None:
        return Prompt(solved, asked, answers)
    return Prompt(solved, asked + turn.closing, tuple(text.lstrip() for text in answers), turn.opening)


def neutral_context(labels: Labels = ENGLISH, turn: ChatTurn | None = None) -> str:
    """A prompt without a question, for the unconditional likelihood of PMI scoring.

    Domain-conditional PMI of Holtzman et al. 2021 (arXiv 2104.08315), with the wording of lighteval.
    """
    opening, closing = turn or ("", "")
    return f"{opening}{labels[1]}:{closing}"


def fewshot_examples(pool: Sequence[Question], group: str, num_fewshot: int) -> list[Question]:
    """The first ``num_fewshot`` examples of a group, sorted by question id.

    Raises PromptError if the group has fewer: all questions of a study must see the same number of examples.
    """
    members = sorted((e for e in pool if e["group"] == group), key=lambda e: str(e["question_id"]))
    if len(members) < num_fewshot:
        raise PromptError(
            f"group {group!r} has {len(members)} examples, but {num_fewshot} are asked for;"
            " lower num_fewshot or give more examples"
        )
    return members[:num_fewshot]
