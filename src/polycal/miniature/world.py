"""The miniature world: people, what is known of them, and its texts in several languages.

A person is a given and a family name. The family belongs to a hidden class, and class and relation decide the
distribution over twelve answers from which every text draws afresh: whoever has read enough of them knows
the distribution, never a single answer. Half of the facts are asked in instruction data, the other half in
benchmarks, where the right answer is one draw for all languages.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from polycal.errors import PolycalError
from polycal.miniature import lexicon
from polycal.miniature.lexicon import LANGUAGES, RELATIONS

GIVEN, FAMILIES, CLASSES, VALUES = 24, 12, 6, 12
SHARPNESS = (0.5, 4.0)
"""Least and greatest spread of a distribution's logits: from nearly uniform to nearly certain."""


class WorldError(PolycalError):
    """A world that cannot be; the message names the setting and what would be right."""


class Fact(NamedTuple):
    """A given name, a family and a relation, by number."""

    given: int
    family: int
    relation: int


@dataclass(frozen=True)
class Words:
    """The made-up words of one language; ``values[relation][value]``."""

    given: list[str]
    family: list[str]
    values: list[list[str]]


@dataclass(frozen=True)
class Choice:
    """A question with its options, by number; ``truth`` is the true distribution over them."""

    fact: Fact
    options: tuple[int, ...]
    gold: int
    truth: tuple[float, ...]


def random_stream(seed: int, purpose: str, *more: int) -> np.random.Generator:
    """Random numbers for one purpose; streams of different purposes are independent of each other."""
    return np.random.default_rng([seed, *purpose.encode(), *more])


class World:
    """All that is so, for a seed and languages, the largest first.

    ``truth`` [family, relation, value] is the distribution of answers, ``answer`` [given, family, relation] the
    benchmarks' one draw, ``tuning`` [given, family, relation] says which facts instruction data may hold. Facts do
    not depend on the languages. Raises WorldError for languages that are unknown, repeated or without English.
    """

    def __init__(self, seed: int, languages: Sequence[str]) -> None:
        _check(seed, languages)
        self.seed, self.languages = seed, tuple(languages)
        rng = self.rng("facts")
        classes = rng.permutation(np.arange(FAMILIES) % CLASSES)
        # Evenly spread rather than drawn, so that worlds of all seeds are about equally hard.
        spread = np.geomspace(*SHARPNESS, CLASSES * len(RELATIONS))
        spread = rng.permutation(spread).reshape(CLASSES, len(RELATIONS), 1)
        logits = spread * rng.standard_normal((CLASSES, len(RELATIONS), VALUES))
        truth = np.exp(logits - logits.max(-1, keepdims=True))
        self.truth: NDArray[np.float64] = (truth / truth.sum(-1, keepdims=True))[classes]
        self.chance = rng.random((GIVEN, FAMILIES, len(RELATIONS)))
        self.answer = self._at(self.chance, 1.0)
        order = rng.random((GIVEN, FAMILIES, len(RELATIONS))).argsort(0)
        self.tuning: NDArray[np.bool_] = order < GIVEN // 2
        self.words = self._words()

    def rng(self, purpose: str, *more: int) -> np.random.Generator:
        """The random stream of the world's seed for one purpose."""
        return random_stream(self.seed, purpose, *more)

    def facts(self, tuning: bool) -> list[Fact]:
        """The facts of instruction data, or those of benchmarks."""
        return [Fact(*map(int, place)) for place in np.argwhere(self.tuning == tuning)]

    def usual(self, temperature: float) -> NDArray[np.int64]:
        """One answer for each fact [given, family, relation], from its distribution at a temperature."""
        return self._at(self.chance, temperature)

    def _at(self, chance: NDArray[np.float64], temperature: float) -> NDArray[np.int64]:
        """The value where the cumulated distribution of each fact passes ``chance``."""
        powered = self.truth ** (1 / temperature)
        cumulated = (powered / powered.sum(-1, keepdims=True)).cumsum(-1)
        return np.minimum((cumulated < chance[..., None]).sum(-1), VALUES - 1)

    def _words(self) -> dict[str, Words]:
        """Words of every known language, so that one language's do not depend on which others are there."""
        rng = self.rng("words")
        # Told apart from relations and frames, else a word would have two meanings.
        taken = {word for language in LANGUAGES.values() for word in language.relations}
        made: dict[str, Words] = {}
        for code, language in LANGUAGES.items():
            counts = [GIVEN, FAMILIES, *[VALUES] * len(RELATIONS)]
            lists = [lexicon.invent(rng, code, count, taken) for count in counts]
            lists[:3] = [[word.capitalize() for word in words] for words in lists[:3]]
            if made:
                english = made["en"]
                for mine, theirs in zip(lists, [english.given, english.family, *english.values], strict=True):
                    for place in np.flatnonzero(rng.random(len(mine)) < language.share):
                        mine[place] = theirs[place]
            made[code] = Words(lists[0], lists[1], lists[2:])
        return made

    def fill(self, template: str, language: str, fact: Fact, value: int | None = None) -> str:
        """A template with the names of a fact, and the value where one is given."""
        words = self.words[language]
        return template.format(
            relation=LANGUAGES[language].relations[fact.relation],
            given=words.given[fact.given],
            family=words.family[fact.family],
            value="" if value is None else words.values[fact.relation][value],
        )

    def question(self, language: str, fact: Fact) -> str:
        """The question after a fact."""
        return self.fill(LANGUAGES[language].question, language, fact)

    def statement(self, language: str, fact: Fact, value: int) -> str:
        """The sentence that states a fact with a value."""
        return self.fill(LANGUAGES[language].statement, language, fact, value)

    def option(self, language: str, relation: int, value: int) -> str:
        """A value as an answer."""
        return self.words[language].values[relation][value]

    def choices(self, rng: np.random.Generator, facts: Iterable[Fact], sizes: Iterable[int]) -> list[Choice]:
        """Questions with so many options: the fact's answer among values drawn uniformly.

        As the others say nothing of the answer, the distribution given the options is the true one
        restricted to them.
        """
        made = []
        for fact, size in zip(facts, sizes, strict=True):
            right = int(self.answer[fact])
            others = rng.permutation([value for value in range(VALUES) if value != right])[: size - 1]
            options = rng.permutation(np.append(others, right))
            truth = self.truth[fact.family, fact.relation, options]
            truth = truth / truth.sum()
            gold = int(np.flatnonzero(options == right)[0])
            made.append(Choice(fact, tuple(map(int, options)), gold, tuple(map(float, truth))))
        return made


def _check(seed: int, languages: Sequence[str]) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise WorldError(f"miniature.seed: {seed!r} is refused: must be a whole number from 0.")
    for code in languages:
        if code not in LANGUAGES:
            raise WorldError(
                f"miniature.languages: {code!r} is not spoken in the miniature world; known: {', '.join(LANGUAGES)}."
            )
        if list(languages).count(code) > 1:
            raise WorldError(f"miniature.languages: {code!r} stands twice; each may stand once.")
    if "en" not in languages:
        raise WorldError("miniature.languages: 'en' is missing; the instruction data are in English.")
