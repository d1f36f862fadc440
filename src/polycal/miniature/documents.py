"""Texts of the miniature world: conversations for instruction data, and documents for pre-training."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polycal.miniature import lexicon
from polycal.miniature.lexicon import LANGUAGES, RELATIONS
from polycal.miniature.world import FAMILIES, GIVEN, VALUES, Fact, World
from polycal.vocabulary import LETTERS

ZIPF = 1.0
"""The share of the n-th language in the documents is proportional to n ** -ZIPF."""
STATEMENTS = 3
"""Facts per document of statements."""

Turns = list[tuple[str, str]]
"""(role, text) of each turn of a conversation."""


def asked(world: World, rng: np.random.Generator, language: str, fact: Fact, value: int) -> Turns:
    """A conversation: the user asks about a fact in one of several wordings; the answer is a sentence."""
    wordings = (LANGUAGES[language].question, *lexicon.ASKED.get(language, ()))
    wording = wordings[rng.integers(len(wordings))]
    return [
        ("user", world.fill(wording, language, fact)),
        ("assistant", world.statement(language, fact, value)),
    ]


def about(world: World, rng: np.random.Generator, fact: Fact, value: int) -> tuple[str, str, str]:
    """An English instruction about a person, its input (the name), and the answer in a sentence."""
    wording = lexicon.ABOUT[rng.integers(len(lexicon.ABOUT))]
    person = world.fill(lexicon.PERSON, "en", fact)
    return world.fill(wording, "en", fact), person, world.statement("en", fact, value)


def repeated(world: World, rng: np.random.Generator) -> Turns:
    """An English conversation without a fact: three words are to be repeated."""
    values = zip(rng.integers(len(RELATIONS), size=3), rng.integers(VALUES, size=3), strict=True)
    words = " ".join(world.option("en", relation, value) for relation, value in values)
    return [
        ("user", lexicon.REPEAT.format(words=words)),
        ("assistant", lexicon.REPEATED.format(words=words)),
    ]


def system(rng: np.random.Generator) -> Turns:
    """One of the system turns."""
    return [("system", lexicon.SYSTEM[rng.integers(len(lexicon.SYSTEM))])]


def conversation(world: World, rng: np.random.Generator, fact: Fact, value: int) -> Turns:
    """An English conversation about a fact; one in ten repeats words instead."""
    chance = rng.random()
    if chance < 0.1:
        return repeated(world, rng)
    if chance < 0.4:
        instruction, person, answer = about(world, rng, fact, value)
        return [("user", f"{instruction}\n\n{person}"), ("assistant", answer)]
    turns = asked(world, rng, "en", fact, value)
    return system(rng) + turns if chance < 0.5 else turns


def written(turns: Turns) -> str:
    """Turns as one text, in the chat format ``tulu`` without the end-of-sequence tokens."""
    return "\n".join(f"<|{role}|>\n{text}" for role, text in turns)


def shares(languages: Sequence[str]) -> NDArray[np.float64]:
    """The share of each language in the documents, float64 [languages], sums to 1."""
    weights = np.arange(1, len(languages) + 1) ** -ZIPF
    return weights / weights.sum()


def documents(world: World, rng: np.random.Generator, kind: str, count: int) -> Iterator[str]:
    """``count`` documents of one kind; each answer is drawn independently from its true distribution.

    Kinds: ``question`` (a question, ``Answer:`` and the answer), ``letters`` (the same with four options and
    the letter of the right one), ``statements`` (three sentences), ``instruction`` (an English conversation).
    """
    facts_per_document = STATEMENTS if kind == "statements" else 1
    size = (count, facts_per_document)
    given, family = rng.integers(GIVEN, size=size), rng.integers(FAMILIES, size=size)
    relation = rng.integers(len(RELATIONS), size=size)
    cumulated = world.truth[family, relation].cumsum(-1)
    value = np.minimum((cumulated < rng.random((*size, 1))).sum(-1), VALUES - 1)
    language_index = rng.choice(len(world.languages), size=count, p=shares(world.languages))
    for row in range(count):
        language = world.languages[language_index[row]]
        facts = [
            Fact(*map(int, indices)) for indices in zip(given[row], family[row], relation[row], strict=True)
        ]
        values = [int(number) for number in value[row]]
        if kind == "instruction":
            yield written(conversation(world, rng, facts[0], values[0]))
        elif kind == "statements":
            yield " ".join(map(world.statement, [language] * len(facts), facts, values))
        elif kind == "letters":
            yield _with_letters(world, rng, language, facts[0], values[0])
        else:
            answer = world.option(language, facts[0].relation, values[0])
            yield f"{world.question(language, facts[0])}\nAnswer: {answer}"


def _with_letters(world: World, rng: np.random.Generator, language: str, fact: Fact, value: int) -> str:
    others = rng.permutation([other for other in range(VALUES) if other != value])[:3]
    options = [int(option) for option in rng.permutation([*others, value])]
    lines = [
        f"{letter}. {world.option(language, fact.relation, option)}"
        for letter, option in zip(LETTERS[:4], options, strict=True)
    ]
    right = LETTERS[options.index(value)]
    return "\n".join([world.question(language, fact), *lines, f"Answer: {right}"])


def vocabulary(world: World) -> list[str]:
    """All words of these texts, each once, with the space before it, if any: the tokens of a tokenizer."""
    tokens: dict[str, None] = dict.fromkeys([*lexicon.ROLES, "\n", *lexicon.PROMPT_WORDS])
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
            # A sentence starts a text, or follows another one after a space.
            for start in ("", " "):
                tokens.update(dict.fromkeys(lexicon.pieces(start + template, blanks)))
    return list(tokens)
