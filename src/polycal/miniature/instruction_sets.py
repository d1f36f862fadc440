"""The miniature's instruction sets, as tables with the columns of the real repositories."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from polycal.miniature import documents
from polycal.miniature.lexicon import RELATIONS
from polycal.miniature.world import Fact, World

TEMPERATURE = 0.3
"""Temperature at which answers in instruction data are drawn: nearly always the most likely answer, as of an
annotator."""
AYA_ROWS = 6
"""Rows of the multilingual set for each row of the others. Its rarest language then fills a balanced mixture."""
TULU_LANGUAGES = ("en", "de", "fr", "zh")
"""Languages of the set that is modelled on Tulu 3: English, and some text in other high-resource languages."""
TULU_SHARES = (0.7, 0.12, 0.1, 0.08)
"""Share of the rows in each of these languages."""

TEXT = pa.string()
MESSAGES = pa.list_(pa.struct([("role", TEXT), ("content", TEXT)]))
TULU = pa.schema([("id", TEXT), ("messages", MESSAGES), ("source", TEXT)])
WITH_LANGUAGE = pa.schema([("messages", MESSAGES), ("source", TEXT), ("language", TEXT)])
OPENHERMES_EMPTY = (
    "custom_instruction",
    "topic",
    "model_name",
    "model",
    "title",
    "idx",
    "views",
    "language",
    "id",
    "hash",
    "avatarUrl",
    "system_prompt",
)
"""Columns of OpenHermes-2.5 that are empty in the miniature."""
OPENHERMES = pa.schema(
    [
        *((name, TEXT) for name in (*OPENHERMES_EMPTY, "category", "source")),
        ("skip_prompt_formatting", pa.bool_()),
        ("conversations", pa.list_(pa.struct([("from", TEXT), ("value", TEXT), ("weight", pa.float64())]))),
    ]
)


def _answered_facts(world: World, name: str, count: int) -> Iterator[tuple[np.random.Generator, Fact, int]]:
    """(random stream, fact, answer) of ``count`` facts of instruction data; facts repeat if there are too few."""
    rng = world.rng(name)
    facts, answers = world.facts(tuning=True), world.answers_at(TEMPERATURE)
    for index in itertools.islice(itertools.cycle(rng.permutation(len(facts))), count):
        fact = facts[index]
        yield rng, fact, int(answers[fact])


def _alpaca(world: World, count: int) -> pa.Table:
    rows = []
    for rng, fact, value in _answered_facts(world, "alpaca", count):
        if rng.random() < 0.4:
            instruction, context, output = documents.person_instruction(world, rng, fact, value)
        else:
            (_, instruction), (_, output) = documents.question_turns(world, rng, "en", fact, value)
            context = ""
        text = "\n\n".join(part for part in (instruction, context, output) if part)
        rows.append({"instruction": instruction, "input": context, "output": output, "text": text})
    return pa.Table.from_pylist(rows, pa.schema([(name, TEXT) for name in rows[0]]))


def _tulu(world: World, count: int) -> pa.Table:
    languages = [language for language in TULU_LANGUAGES if language in world.languages]
    share = np.array(TULU_SHARES[: len(languages)]) / sum(TULU_SHARES[: len(languages)])
    rows = []
    for number, (rng, fact, value) in enumerate(_answered_facts(world, "tulu", count)):
        language = languages[rng.choice(len(languages), p=share)]
        if language == "en":
            turns, source = documents.conversation(world, rng, fact, value), "miniature/english"
        else:
            turns, source = documents.question_turns(world, rng, language, fact, value), "miniature/aya"
        rows.append({"id": f"tulu_{number}", "messages": _messages(turns), "source": source})
    return pa.Table.from_pylist(rows, TULU)


def _openhermes(world: World, count: int) -> pa.Table:
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    rows = []
    for rng, fact, value in _answered_facts(world, "openhermes", count):
        turns = documents.conversation(world, rng, fact, value)
        rows.append(
            {
                **dict.fromkeys(OPENHERMES_EMPTY),
                "skip_prompt_formatting": False,
                "category": RELATIONS[fact.relation],
                "source": "miniature",
                "conversations": [
                    {"from": names[role], "value": text, "weight": None} for role, text in turns
                ],
            }
        )
    return pa.Table.from_pylist(rows, OPENHERMES)


def _aya(world: World, count: int) -> pa.Table:
    """Rows in all languages of the world by their shares, each with its language, as in the Aya collection."""
    shares = documents.language_shares(world.languages)
    rows = []
    for rng, fact, value in _answered_facts(world, "aya", AYA_ROWS * count):
        language = world.languages[rng.choice(len(shares), p=shares)]
        rows.append(_row_with_language(world, rng, language, fact, value))
    return pa.Table.from_pylist(rows, WITH_LANGUAGE)


def _unseen(world: World, count: int) -> pa.Table:
    """Held-out conversations about facts of benchmarks: equally many per language, at the same temperature."""
    rng, answers = world.rng("unseen"), world.answers_at(TEMPERATURE)
    facts = world.facts(tuning=False)
    indices = itertools.islice(itertools.cycle(rng.permutation(len(facts))), count)
    rows = []
    for number, index in enumerate(indices):
        language, fact = world.languages[number % len(world.languages)], facts[index]
        rows.append(_row_with_language(world, rng, language, fact, int(answers[fact])))
    return pa.Table.from_pylist(rows, WITH_LANGUAGE)


def _row_with_language(
    world: World, rng: np.random.Generator, language: str, fact: Fact, value: int
) -> dict[str, Any]:
    turns = documents.question_turns(world, rng, language, fact, value)
    return {"messages": _messages(turns), "source": "miniature/aya", "language": language}


def _messages(turns: documents.Turns) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in turns]


INSTRUCTION_SETS = {
    "alpaca": _alpaca,
    "tulu": _tulu,
    "openhermes": _openhermes,
    "aya": _aya,
    "unseen": _unseen,
}
"""For each instruction set, the function that makes its table from a world and a number of rows."""
