"""How a question becomes a prefix and its candidates. A change of any wording here is a new VERSION.

The English frame is the one that lm-evaluation-harness uses for Global-MMLU: the question, the options with
their letters, and ``Answer:``. A candidate follows the prefix after one space.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

VERSION = "1"
LETTERS = "ABCDEFGHIJ"

Candidates = Literal["letters", "texts"]
Question = Mapping[str, Any]


class PromptError(ValueError):
    """A question that cannot be asked in the way that was chosen."""


@dataclass(frozen=True)
class Prompt:
    """``examples``, each ending in a blank line, then ``question``; ``candidates`` continue that text."""

    examples: tuple[str, ...]
    question: str
    candidates: tuple[str, ...]

    @property
    def prefix(self) -> str:
        """All that stands before a candidate."""
        return "".join(self.examples) + self.question


def ask(question: Question, candidates: Candidates) -> str:
    """One question as text, up to and with ``Answer:``. Raises PromptError for more options than letters."""
    lines = [question["question"].strip()]
    if candidates == "letters":
        if len(question["options"]) > len(LETTERS):
            raise PromptError(
                f"question {question['question_id']!r} has {len(question['options'])} options, but there are"
                f" {len(LETTERS)} letters; ask for texts instead"
            )
        lines += [f"{letter}. {option}" for letter, option in zip(LETTERS, question["options"], strict=False)]
    return "\n".join([*lines, "Answer:"])


def answers(question: Question, candidates: Candidates) -> tuple[str, ...]:
    """The candidates of a question, each with the space that parts it from the prefix."""
    shown = LETTERS[: len(question["options"])] if candidates == "letters" else question["options"]
    return tuple(f" {text.strip()}" for text in shown)


def prompt(question: Question, examples: Sequence[Question], candidates: Candidates) -> Prompt:
    """A question behind solved examples."""
    solved = tuple(f"{ask(e, candidates)}{answers(e, candidates)[e['gold']]}\n\n" for e in examples)
    return Prompt(solved, ask(question, candidates), answers(question, candidates))


def examples_of(pool: Sequence[Question], group: str, shots: int) -> list[Question]:
    """The first ``shots`` examples of a group, in the order of their ids.

    Raises PromptError where the group has fewer: questions of one group would then be asked unlike others.
    """
    found = sorted((e for e in pool if e["group"] == group), key=lambda e: str(e["question_id"]))
    if len(found) < shots:
        raise PromptError(
            f"group {group!r} has {len(found)} examples, but {shots} are asked for; lower shots or give more examples"
        )
    return found[:shots]
