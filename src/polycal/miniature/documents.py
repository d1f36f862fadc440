"""Texts about the miniature world: conversations for instruction data and documents for pre-training."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polycal.miniature import lexicon
from polycal.miniature.lexicon import LANGUAGES, RELATIONS
from polycal.miniature.world import FAMILIES, GIVEN, VALUES, Fact, World

ZIPF = 1.0
"""Exponent of Zipf's law: the share of the n-th language in the documents is proportional to n ** -ZIPF."""
STATEMENTS = 3
"""Sentences in a document of kind ``statements``; each states one fact."""

Turns = list[tuple[str, str]]
"""(role, text) of each turn of a conversation."""


def question_turns(world: World, rng: np.random.Generator, language: str, fact: Fact, value: int) -> Turns:
    """A conversation in which the user asks about a fact in a random wording and a sentence answers."""
    wordings = (LANGUAGES[language].question, *lexicon.QUESTION_WORDINGS.get(language, ()))
    wording = wordings[rng.integers(len(wordings))]
    return [
        ("user", world.fill(wording, language, fact)),
        ("assistant", world.statement(language, fact, value)),
    ]


def person_instruction(
    world: World, rng: np.random.Generator, fact: Fact, value: int
) -> tuple[str, str, str]:
    """(instruction, input, output) in English: what to find, the person's name, and the answer as a sentence."""
    wording = lexicon.PERSON_INSTRUCTIONS[rng.integers(len(lexicon.PERSON_INSTRUCTIONS))]
    person = world.fill(lexicon.PERSON, "en", fact)
    return world.fill(wording, "en", fact), person, world.statement("en", fact, value)


def repeat_turns(world: World, rng: np.random.Generator) -> Turns:
    """An English conversation without a fact: the assistant repeats three words."""
    values = zip(rng.integers(len(RELATIONS), size=3), rng.integers(VALUES, size=3), strict=True)
    words = " ".join(world.option("en", relation, value) for relation, value in values)
    return [
        ("user", lexicon.REPEAT.format(words=words)),
        ("assistant", lexicon.REPEAT_ANSWER.format(words=words)),
    ]


def system_turn(rng: np.random.Generator) -> Turns:
    """A random system turn."""
    return [("system", lexicon.SYSTEM_TEXTS[rng.integers(len(lexicon.SYSTEM_TEXTS))])]


def conversation(world: World, rng: np.random.Generator, fact: Fact, value: int) -> Turns:
    """An English conversation about a fact. One in ten repeats words instead; one in ten has a system turn."""
    quantile = rng.random()
    if quantile < 0.1:
        return repeat_turns(world, rng)
    if quantile < 0.4:
        instruction, person, answer = person_instruction(world, rng, fact, value)
        return [("user", f"{instruction}\n\n{person}"), ("assistant", answer)]
    turns = question_turns(world, rng, "en", fact, value)
    return system_turn(rng) + turns if quantile < 0.5 else turns


def chat_text(turns: Turns) -> str:
    """The turns as one text, in the chat format ``tulu`` without end-of-sequence tokens."""
    return "\n".join(f"<|{role}|>\n{text}" for role, text in turns)


def language_shares(languages: Sequence[str]) -> NDArray[np.float64]:
    """The share of each language in the documents, float64 [languages]; they sum to 1."""
    weights = np.arange(1, len(languages) + 1) ** -ZIPF
    return weights / weights.sum()


def documents(world: World, rng: np.random.Generator, kind: str, count: int) -> Iterator[str]:
    """``count`` documents of one kind. Each answer is drawn independently from its true distribution.

    Kinds: ``question`` (a question, ``Answer:`` and the answer), ``statements`` (three sentences),
    ``instruction`` (an English conversation).
    """
    facts_per_document = STATEMENTS if kind == "statements" else 1
    size = (count, facts_per_document)
    given, family = rng.integers(GIVEN, size=size), rng.integers(FAMILIES, size=size)
    relation = rng.integers(len(RELATIONS), size=size)
    cumulated = world.truth[family, relation].cumsum(-1)
    value = np.minimum((cumulated < rng.random((*size, 1))).sum(-1), VALUES - 1)
    language_index = rng.choice(len(world.languages), size=count, p=language_shares(world.languages))
    for row in range(count):
        language = world.languages[language_index[row]]
        facts = [
            Fact(*map(int, indices)) for indices in zip(given[row], family[row], relation[row], strict=True)
        ]
        values = [int(number) for number in value[row]]
        if kind == "instruction":
            yield chat_text(conversation(world, rng, facts[0], values[0]))
        elif kind == "statements":
            yield " ".join(map(world.statement, [language] * len(facts), facts, values))
        else:
            answer = world.option(language, facts[0].relation, values[0])
            yield f"{world.question(language, facts[0])}\nAnswer: {answer}"


def vocabulary(world: World) -> list[str]:
    """The tokens of a tokenizer for these texts: every word once, with the space before it if there is one."""
    tokens: dict[str, None] = dict.fromkeys([*lexicon.ROLES, "\n", *lexicon.PROMPT_WORDS])
    english = [
        *lexicon.PERSON_INSTRUCTIONS,
        lexicon.PERSON,
        lexicon.REPEAT,
        lexicon.REPEAT_ANSWER,
        *lexicon.SYSTEM_TEXTS,
    ]
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
        templates = [language.question, language.statement, *lexicon.QUESTION_WORDINGS.get(code, ())]
        for template in templates + (english if code == "en" else []):
            # A sentence may start a text, or follow another one after a space.
            for start in ("", " "):
                tokens.update(dict.fromkeys(lexicon.template_tokens(start + template, blanks)))
    return list(tokens)
