"""The questions of the miniature's two benchmarks, and their rows in the shape of the real repositories."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from polycal.miniature.lexicon import RELATIONS
from polycal.miniature.world import Choice, World
from polycal.vocabulary import LETTERS

EXAMPLES = 5
"""Few-shot examples per group."""
FIRST_EXAMPLE = 100_000
"""Id of the first few-shot example; test questions count from 0."""

Row = dict[str, Any]


class Question(NamedTuple):
    """A question, the same in all languages; ``split`` is test or examples."""

    number: str
    choice: Choice
    split: str


class BenchmarkShape(NamedTuple):
    """How a benchmark looks.

    ``sizes`` are the numbers of options that its questions have, ``row`` writes a question in one language,
    ``example_split`` is the repository's name for the few-shot examples and ``id_column`` its column of ids.
    """

    sizes: tuple[int, ...]
    row: Callable[[World, str, Question], Row]
    example_split: str
    id_column: str


def questions(world: World, benchmark: str, count: int) -> Iterator[Question]:
    """``count`` test questions of a benchmark and its few-shot examples, on facts that no tuning shows."""
    sizes = BENCHMARKS[benchmark].sizes
    rng = world.rng("benchmark", len(sizes))
    facts = world.facts(tuning=False)
    order = [facts[index] for index in rng.permutation(len(facts))]
    example_facts = [
        fact
        for relation in range(len(RELATIONS))
        for fact in [fact for fact in order if fact.relation == relation][:EXAMPLES]
    ]
    reserved = set(example_facts)
    test_facts = [fact for fact in order if fact not in reserved]
    chosen = list(itertools.islice(itertools.cycle(test_facts), count))
    for split, first, some in (("test", 0, chosen), ("examples", FIRST_EXAMPLE, example_facts)):
        drawn = [int(size) for size in rng.choice(sizes, size=len(some))]
        for number, choice in enumerate(world.choices(rng, some, drawn), start=first):
            yield Question(str(number), choice, split)


def options(world: World, language: str, choice: Choice) -> list[str]:
    """The texts of a question's options in one language."""
    return [world.option(language, choice.fact.relation, value) for value in choice.options]


def _mmlu_prox_row(world: World, language: str, question: Question) -> Row:
    choice, texts = question.choice, options(world, language, question.choice)
    return {
        "question_id": int(question.number),
        "question": world.question(language, choice.fact),
        **{f"option_{index}": texts[index] if index < len(texts) else None for index in range(10)},
        "answer": LETTERS[choice.gold],
        "answer_index": choice.gold,
        "cot_content": "",
        "category": RELATIONS[choice.fact.relation],
        "src": "miniature",
        "question_id_src": int(question.number),
    }


def _global_mmlu_row(world: World, language: str, question: Question) -> Row:
    choice, texts = question.choice, options(world, language, question.choice)
    subject = RELATIONS[choice.fact.relation]
    split = "test" if question.split == "test" else "dev"
    return {
        "sample_id": f"{subject}/{split}/{question.number}",
        "subject": subject,
        "subject_category": "People",
        "question": world.question(language, choice.fact),
        **{f"option_{letter}": text for letter, text in zip("abcd", texts, strict=True)},
        "answer": LETTERS[choice.gold],
        **dict.fromkeys(
            ("required_knowledge", "time_sensitive", "reference", "culture", "region", "country"), "[]"
        ),
        "cultural_sensitivity_label": "-",
        "is_annotated": False,
    }


BENCHMARKS = {
    "mmlu-prox": BenchmarkShape(tuple(range(3, 11)), _mmlu_prox_row, "validation", "question_id"),
    "global-mmlu": BenchmarkShape((4,), _global_mmlu_row, "dev", "sample_id"),
}
