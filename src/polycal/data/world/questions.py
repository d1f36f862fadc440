"""Multiple-choice questions from facts: the same ids and options in every language.

A question is the name of its subject, and the options are names. Which relation is asked for is shown by the few-shot
examples of the group. All choices are made by checksums of codes, so they depend on no generator of random numbers.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from polycal.data.world import facts
from polycal.data.world.facts import Fact
from polycal.data.world.names import Names, Thing, WorldError

EXAMPLES = 5
"""Few-shot examples of each group."""
FEWEST_OPTIONS = 4
SMALLEST_GROUP = 20
"""Fewest test questions of a group. A smaller group is left out."""
NAMED = "-named"
"""End of the name of groups in which a name contains the other."""


class Question(NamedTuple):
    """A question in no language. ``split`` is test or examples; ``gold`` is the index of the right option."""

    id: str
    group: str
    subject: Thing
    options: tuple[Thing, ...]
    gold: int
    split: str


T = TypeVar("T", Thing, Question)


def questions(names: Names, most_options: int) -> list[Question]:
    """All questions with 4 to ``most_options`` options, in a fixed order.

    No two options of a question have the same name in any language. Questions whose subject and answer contain each
    other in some language are in a group of their own. Raises WorldError if a group of a relation is too small,
    because names are missing.
    """
    drawn = [question for fact in facts.facts() if (question := _question(fact, names, most_options))]
    sizes = Counter(question.group for question in drawn)
    for group in ("currency", "language", "continent", "city"):
        if sizes[group] < SMALLEST_GROUP + EXAMPLES:
            raise WorldError(
                f"only {sizes[group]} questions of the group {group!r} have names in all languages, but"
                f" {SMALLEST_GROUP + EXAMPLES} are needed; install the version of babel that envs/cpu.lock pins."
            )
    groups = {group for group, size in sizes.items() if size >= SMALLEST_GROUP + EXAMPLES}
    kept = _ordered("questions", [question for question in drawn if question.group in groups])
    examples = {question.id for group in sorted(groups) for question in _examples(kept, group)}
    return [question._replace(split="examples") if question.id in examples else question for question in kept]


def row(question: Question, names: Names, language: str) -> dict[str, Any]:
    """A question in one language, in the columns of polycal's question files."""
    position = names.languages.index(language)
    return {
        "question_id": question.id,
        "group": question.group,
        "split": question.split,
        "question": (names.of(question.subject) or ())[position],
        "options": [(names.of(option) or ())[position] for option in question.options],
        "gold": question.gold,
    }


def counts(questions: Iterable[Question]) -> dict[str, dict[str, int]]:
    """The number of questions by group and split."""
    numbers: dict[str, Counter[str]] = {}
    for question in questions:
        numbers.setdefault(question.group, Counter())[question.split] += 1
    return {group: dict(numbers[group]) for group in sorted(numbers)}


def equal_to_english(questions: Sequence[Question], names: Names, language: str) -> dict[str, float]:
    """The share of candidates of test questions that are spelled as in English: for each group, and ``all``."""
    total: Counter[str] = Counter()
    equal: Counter[str] = Counter()
    own, english = names.languages.index(language), names.languages.index("en")
    for question in questions:
        for option in question.options if question.split == "test" else ():
            spelled = names.of(option) or ()
            for group in (question.group, "all"):
                total[group] += 1
                equal[group] += spelled[own] == spelled[english]
    return {group: round(equal[group] / count, 4) for group, count in sorted(total.items())}


def _question(fact: Fact, names: Names, most_options: int) -> Question | None:
    """The question of a fact; None if names or wrong answers are missing."""
    if names.of(fact.subject) is None or names.of(fact.answer) is None:
        return None
    key = f"{fact.relation}-{fact.subject.code.replace('/', '.')}"
    options = [fact.answer]
    for thing in _ordered(key, fact.near) + _ordered(key, fact.far):
        if len(options) == most_options:
            break
        if names.of(thing) and all(names.differ(thing, other) for other in (fact.subject, *options)):
            options.append(thing)
    if len(options) < FEWEST_OPTIONS:
        return None
    group = fact.relation + (NAMED if names.contain(fact.subject, fact.answer) else "")
    shown = tuple(_ordered(f"{key}/position", options))
    return Question(key, group, fact.subject, shown, shown.index(fact.answer), "test")


def _examples(questions: Iterable[Question], group: str) -> list[Question]:
    """The few-shot examples of a group: the first questions, if possible with different answers."""
    chosen: list[Question] = []
    rest: list[Question] = []
    answers: set[Thing] = set()
    for question in (question for question in questions if question.group == group):
        answer = question.options[question.gold]
        (rest if answer in answers else chosen).append(question)
        answers.add(answer)
    return [*chosen, *rest][:EXAMPLES]


def _ordered(key: str, items: Iterable[T]) -> list[T]:
    """Items in an order that depends only on ``key`` and their codes, as if they were shuffled."""

    def checksum(item: T) -> bytes:
        code = item.id if isinstance(item, Question) else f"{item.kind}/{item.code}"
        return hashlib.sha256(f"{key}/{code}".encode()).digest()

    return sorted(items, key=checksum)
