"""The miniature world: invented people, and distributions over the answers to questions about them.

A person has a given name and a family name. Each family belongs to a hidden class. The class and the relation
determine a distribution over twelve answers. Every pre-training text draws its answer from it independently, so
a model can learn the distribution, but not the answer to one question. Half of the facts occur in instruction
data, the other half in benchmarks. The right answer of a benchmark question is one draw from the distribution.
It is the same in all languages.
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
"""Smallest and largest scale of a distribution's logits: from nearly uniform to nearly certain."""


class WorldError(PolycalError):
    """Settings of a world that cannot be; the message names the setting and what would be right."""


class Fact(NamedTuple):
    """What a question asks about: the indices of a given name, a family and a relation."""

    given: int
    family: int
    relation: int


@dataclass(frozen=True)
class Words:
    """The invented words of one language. ``values[relation][value]`` is the word of an answer."""

    given: list[str]
    family: list[str]
    values: list[list[str]]


@dataclass(frozen=True)
class Choice:
    """A question with its options.

    ``options`` are indices of values, ``gold`` is the index of the right option, and ``truth`` is the true
    distribution over the options.
    """

    fact: Fact
    options: tuple[int, ...]
    gold: int
    truth: tuple[float, ...]


def random_stream(seed: int, purpose: str, *more: int) -> np.random.Generator:
    """The random generator of a seed for one purpose. Generators of different purposes are independent."""
    return np.random.default_rng([seed, *purpose.encode(), *more])


class World:
    """The facts of one seed, and their words in each language.

    ``languages`` are sorted by their share of the documents, the largest first. Facts do not depend on them.
    ``truth`` [family, relation, value], float64, contains the distributions of answers; each sums to 1.
    ``answer`` [given, family, relation] is the draw that is the right answer in benchmarks. ``tuning`` [given,
    family, relation] is true for facts that instruction data may contain.

    Raises WorldError if the seed is no whole number from 0, if a language is unknown or repeated, or if English
    is missing.
    """

    def __init__(self, seed: int, languages: Sequence[str]) -> None:
        _check(seed, languages)
        self.seed, self.languages = seed, tuple(languages)
        rng = self.rng("facts")
        classes = rng.permutation(np.arange(FAMILIES) % CLASSES)
        # The scales are a fixed grid, not random, so that worlds of all seeds are about equally difficult.
        scales = np.geomspace(*SHARPNESS, CLASSES * len(RELATIONS))
        scales = rng.permutation(scales).reshape(CLASSES, len(RELATIONS), 1)
        logits = scales * rng.standard_normal((CLASSES, len(RELATIONS), VALUES))
        truth = np.exp(logits - logits.max(-1, keepdims=True))
        self.truth: NDArray[np.float64] = (truth / truth.sum(-1, keepdims=True))[classes]
        self._quantiles = rng.random((GIVEN, FAMILIES, len(RELATIONS)))
        self.answer = self.answers_at(1.0)
        order = rng.random((GIVEN, FAMILIES, len(RELATIONS))).argsort(0)
        self.tuning: NDArray[np.bool_] = order < GIVEN // 2
        self.words = self._words()

    def rng(self, purpose: str, *more: int) -> np.random.Generator:
        """The random generator of the world's seed for one purpose."""
        return random_stream(self.seed, purpose, *more)

    def facts(self, tuning: bool) -> list[Fact]:
        """The facts that instruction data may contain (``tuning``), or else those of benchmarks."""
        return [Fact(*map(int, index)) for index in np.argwhere(self.tuning == tuning)]

    def answers_at(self, temperature: float) -> NDArray[np.int64]:
        """One answer per fact, int64 [given, family, relation], from its distribution at ``temperature``.

        A fact has the same quantile at all temperatures.
        """
        powered = self.truth ** (1 / temperature)
        cumulated = (powered / powered.sum(-1, keepdims=True)).cumsum(-1)
        return np.minimum((cumulated < self._quantiles[..., None]).sum(-1), VALUES - 1)

    def _words(self) -> dict[str, Words]:
        """The words of all known languages, also unused ones: a language's words do not depend on the others used."""
        rng = self.rng("words")
        # An invented word must not be the name of a relation, so that no word has two meanings.
        taken = {word for language in LANGUAGES.values() for word in language.relations}
        words: dict[str, Words] = {}
        for code, language in LANGUAGES.items():
            counts = [GIVEN, FAMILIES, *[VALUES] * len(RELATIONS)]
            lists = [lexicon.invent(rng, code, count, taken) for count in counts]
            lists[:3] = [[word.capitalize() for word in names] for names in lists[:3]]
            if words:
                english = words["en"]
                for target, source in zip(
                    lists, [english.given, english.family, *english.values], strict=True
                ):
                    for index in np.flatnonzero(rng.random(len(target)) < language.share):
                        target[index] = source[index]
            words[code] = Words(lists[0], lists[1], lists[2:])
        return words

    def fill(self, template: str, language: str, fact: Fact, value: int | None = None) -> str:
        """The template with its blanks filled by the words of a fact and, if given, of a value."""
        words = self.words[language]
        return template.format(
            relation=LANGUAGES[language].relations[fact.relation],
            given=words.given[fact.given],
            family=words.family[fact.family],
            value="" if value is None else words.values[fact.relation][value],
        )

    def question(self, language: str, fact: Fact) -> str:
        """The question about a fact."""
        return self.fill(LANGUAGES[language].question, language, fact)

    def statement(self, language: str, fact: Fact, value: int) -> str:
        """The sentence that states a value as the answer to the question about a fact."""
        return self.fill(LANGUAGES[language].statement, language, fact, value)

    def option(self, language: str, relation: int, value: int) -> str:
        """The text of the option for a value."""
        return self.words[language].values[relation][value]

    def choices(self, rng: np.random.Generator, facts: Iterable[Fact], sizes: Iterable[int]) -> list[Choice]:
        """One question per fact with the given number of options: the right answer among random other values.

        The other values are drawn uniformly and carry no information about the answer. The distribution given
        the options is therefore the true one, restricted to them and renormalised.
        """
        choices = []
        for fact, size in zip(facts, sizes, strict=True):
            right = int(self.answer[fact])
            others = rng.permutation([value for value in range(VALUES) if value != right])[: size - 1]
            options = rng.permutation(np.append(others, right))
            truth = self.truth[fact.family, fact.relation, options]
            truth = truth / truth.sum()
            gold = int(np.flatnonzero(options == right)[0])
            choices.append(Choice(fact, tuple(map(int, options)), gold, tuple(map(float, truth))))
        return choices


def _check(seed: int, languages: Sequence[str]) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise WorldError(f"miniature.seed: {seed!r} is not allowed; must be a whole number from 0.")
    for code in languages:
        if code not in LANGUAGES:
            raise WorldError(
                f"miniature.languages: {code!r} is not spoken in the miniature world; known:"
                f" {', '.join(LANGUAGES)}."
            )
        if list(languages).count(code) > 1:
            raise WorldError(f"miniature.languages: {code!r} occurs twice; each language may occur once.")
    if "en" not in languages:
        raise WorldError("miniature.languages: 'en' is missing; the instruction data are in English.")
