"""Questions of the miniature without options, as rows with the columns of the benchmark MKQA (``data.open_formats``).

The accepted answer of a question is the right one of the benchmarks: one draw from the distribution over all answers. A
model that has learned the distribution is right with the probability that it gives its answer.
"""

from typing import Any

import pyarrow as pa

from polycal.data.open_formats import MKQA_EXAMPLES, MKQA_NAMES, MKQA_TYPES
from polycal.miniature.lexicon import RELATIONS
from polycal.miniature.world import Fact, World

OPEN_BENCHMARK = "mkqa"
TYPE_OF = dict(zip(RELATIONS, ("entity", "short_phrase", "short_phrase", "short_phrase"), strict=True))
"""For each relation, the type of its answers in MKQA."""


def facts(world: World, count: int) -> list[Fact]:
    """The facts that are asked about: ``count`` test questions and the few-shot examples of each type.

    Instruction data do not contain them. If there are fewer facts, all are asked about.
    """
    unseen = world.facts(tuning=False)
    order = world.rng("open").permutation(len(unseen))
    return [unseen[index] for index in order[: count + MKQA_EXAMPLES * len(set(TYPE_OF.values()))]]


def table(world: World, count: int) -> pa.Table:
    """One row per question, with its text and answer in each language of the world."""
    names = {language: MKQA_NAMES.get(language, language) for language in world.languages}
    answer = pa.struct(
        [
            ("type", pa.int64()),
            ("entity", pa.string()),
            ("text", pa.string()),
            ("aliases", pa.list_(pa.string())),
        ]
    )
    schema = pa.schema(
        [
            ("example_id", pa.string()),
            ("queries", pa.struct([(name, pa.string()) for name in names.values()])),
            ("query", pa.string()),
            ("answers", pa.struct([(name, pa.list_(answer)) for name in names.values()])),
        ]
    )
    rows = [_row(world, number, fact, names) for number, fact in enumerate(facts(world, count))]
    return pa.Table.from_pylist(rows, schema=schema)


def _row(world: World, number: int, fact: Fact, names: dict[str, str]) -> dict[str, Any]:
    kind, right = MKQA_TYPES.index(TYPE_OF[RELATIONS[fact.relation]]), int(world.answer[fact])
    return {
        "example_id": str(number),
        "queries": {name: world.question(language, fact) for language, name in names.items()},
        "query": world.question("en", fact),
        "answers": {
            name: [
                {
                    "type": kind,
                    "entity": "",
                    "text": world.option(language, fact.relation, right),
                    "aliases": [],
                }
            ]
            for language, name in names.items()
        },
    }
