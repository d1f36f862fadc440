"""Questions of the miniature's two benchmarks, and their rows with the columns of the real repositories."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from polycal.miniature.lexicon import RELATIONS
from polycal.miniature.world import Choice, World
from polycal.vocabulary import LETTERS

EXAMPLES = 5
"""Few-shot examples per group."""
FIRST_EXAMPLE = 100_000
"""Id of the first few-shot example. The ids of test questions start at 0."""

Row = dict[str, Any]


class Question(NamedTuple):
    """A question, which is the same in all languages. ``split`` is test or examples."""

    number: str
    choice: Choice
    split: str


class BenchmarkShape(NamedTuple):
    """The form of a benchmark.

    ``sizes`` lists the numbers of options that a question may have. ``row`` returns the row of a question in
    one language. ``example_split`` is the repository's name for the split of few-shot examples. ``id_column``
    is the column of question ids.
    """

    sizes: tuple[int, ...]
    row: Callable[[World, str, Question], Row]
    example_split: str
    id_column: str


def questions(world: World, benchmark: str, count: int) -> Iterator[Question]:
    """``count`` test questions of a benchmark, then its few-shot examples.

    They ask about facts that instruction data do not contain. If there are fewer facts than questions, facts
    are asked about again.
    """
    sizes = BENCHMARKS[benchmark].sizes
    rng = world.rng("benchmark", len(sizes))
    facts = world.facts(tuning=False)
    shuffled = [facts[index] for index in rng.permutation(len(facts))]
    example_facts = [
        fact
        for relation in range(len(RELATIONS))
        for fact in [fact for fact in shuffled if fact.relation == relation][:EXAMPLES]
    ]
    reserved = set(example_facts)
    unreserved = [fact for fact in shuffled if fact not in reserved]
    test_facts = list(itertools.islice(itertools.cycle(unreserved), count))
    for split, first_id, split_facts in (
        ("test", 0, test_facts),
        ("examples", FIRST_EXAMPLE, example_facts),
    ):
        option_counts = [int(size) for size in rng.choice(sizes, size=len(split_facts))]
        for number, choice in enumerate(world.choices(rng, split_facts, option_counts), start=first_id):
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
