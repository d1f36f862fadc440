"""The texts of the miniature world: conversations that teach it, and documents that a base model reads."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polycal.miniature import lexicon
from polycal.miniature.lexicon import LANGUAGES, RELATIONS
from polycal.miniature.world import FAMILIES, GIVEN, VALUES, Fact, World

ZIPF = 1.0
"""The n-th language has a share of the documents in proportion to n ** -ZIPF."""
STATEMENTS = 3
"""Facts in one document of statements."""

Turns = list[tuple[str, str]]


def asked(world: World, rng: np.random.Generator, language: str, fact: Fact, value: int) -> Turns:
    """A user's turn that asks for a fact in one of several ways, and the answer in a sentence."""
    ways = (LANGUAGES[language].question, *lexicon.ASKED.get(language, ()))
    way = ways[rng.integers(len(ways))]
    return [
        ("user", world.fill(way, language, fact)),
        ("assistant", world.statement(language, fact, value)),
    ]


def about(world: World, rng: np.random.Generator, fact: Fact, value: int) -> tuple[str, str, str]:
    """An English instruction about the person who is its input, that input, and the answer in a sentence."""
    way = lexicon.ABOUT[rng.integers(len(lexicon.ABOUT))]
    person = world.fill(lexicon.PERSON, "en", fact)
    return world.fill(way, "en", fact), person, world.statement("en", fact, value)


def repeated(world: World, rng: np.random.Generator) -> Turns:
    """An English instruction that asks for no fact: three words to be said again."""
    places = zip(rng.integers(len(RELATIONS), size=3), rng.integers(VALUES, size=3), strict=True)
    words = " ".join(world.option("en", relation, value) for relation, value in places)
    return [
        ("user", lexicon.REPEAT.format(words=words)),
        ("assistant", lexicon.REPEATED.format(words=words)),
    ]


def system(rng: np.random.Generator) -> Turns:
    """A turn of the system."""
    return [("system", lexicon.SYSTEM[rng.integers(len(lexicon.SYSTEM))])]


def conversation(world: World, rng: np.random.Generator, fact: Fact, value: int) -> Turns:
    """An English conversation about a fact or, one in ten, about none."""
    chance = rng.random()
    if chance < 0.1:
        return repeated(world, rng)
    if chance < 0.4:
        instruction, given, answer = about(world, rng, fact, value)
        return [("user", f"{instruction}\n\n{given}"), ("assistant", answer)]
    turns = asked(world, rng, "en", fact, value)
    return system(rng) + turns if chance < 0.5 else turns


def written(turns: Turns) -> str:
    """Turns as one text, in the format of the authors' scripts without the end of sequence."""
    return "\n".join(f"<|{role}|>\n{said}" for role, said in turns)


def shares(languages: Sequence[str]) -> NDArray[np.float64]:
    """The share of each language in the documents, [L]."""
    weights = np.arange(1, len(languages) + 1) ** -ZIPF
    return weights / weights.sum()


def documents(world: World, rng: np.random.Generator, kind: str, count: int) -> Iterator[str]:
    """``count`` documents of one kind, each answer drawn afresh from its true distribution.

    question: a question, ``Answer:`` and the answer; letters: the same with four options and the right one's
    letter; statements: three sentences; instruction: an English conversation.
    """
    many = STATEMENTS if kind == "statements" else 1
    size = (count, many)
    given, family = rng.integers(GIVEN, size=size), rng.integers(FAMILIES, size=size)
    relation = rng.integers(len(RELATIONS), size=size)
    cumulated = world.truth[family, relation].cumsum(-1)
    value = np.minimum((cumulated < rng.random((*size, 1))).sum(-1), VALUES - 1)
    spoken = rng.choice(len(world.languages), size=count, p=shares(world.languages))
    for row in range(count):
        language = world.languages[spoken[row]]
        facts = [Fact(*map(int, three)) for three in zip(given[row], family[row], relation[row], strict=True)]
        values = [int(one) for one in value[row]]
        if kind == "instruction":
            yield written(conversation(world, rng, facts[0], values[0]))
        elif kind == "statements":
            yield " ".join(map(world.statement, [language] * many, facts, values))
        elif kind == "letters":
            yield _lettered(world, rng, language, facts[0], values[0])
        else:
            answer = world.option(language, facts[0].relation, values[0])
            yield f"{world.question(language, facts[0])}\nAnswer: {answer}"


def _lettered(world: World, rng: np.random.Generator, language: str, fact: Fact, value: int) -> str:
    others = rng.permutation([other for other in range(VALUES) if other != value])[:3]
    options = [int(one) for one in rng.permutation([*others, value])]
    lines = [
        f"{letter}. {world.option(language, fact.relation, option)}"
        for letter, option in zip("ABCD", options, strict=True)
    ]
    right = "ABCD"[options.index(value)]
    return "\n".join([world.question(language, fact), *lines, f"Answer: {right}"])


def vocabulary(world: World) -> list[str]:
    """Every word of these texts with the space before it, if any, each once: what a tokenizer should know."""
    found: dict[str, None] = dict.fromkeys([*lexicon.ROLES, "\n", *lexicon.FRAME])
    english = [*lexicon.ABOUT, lexicon.PERSON, lexicon.REPEAT, lexicon.REPEATED, *lexicon.SYSTEM]
    for code in world.languages:
        words, language = world.words[code], LANGUAGES[code]
        values = [value for row in words.values for value in row]
        blanks: dict[str, Any] = {
            "relation": language.relations,
            "given": words.given,
            "family": words.family,
            "value": values,
            "words": values,
        }
        templates = [language.question, language.statement, *lexicon.ASKED.get(code, ())]
        for template in templates + (english if code == "en" else []):
            # A sentence begins a text, or follows another one.
            for start in ("", " "):
                found.update(dict.fromkeys(lexicon.pieces(start + template, blanks)))
    return list(found)
