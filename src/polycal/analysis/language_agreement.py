"""Agreement across languages: how many other languages give the same answer, as a confidence in each language.

All languages of a benchmark ask the same questions, so the agreement follows from the answers alone. Source:
cross-lingual agreement as confidence, arXiv 2503.23687.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from polycal.metrics.arrays import Array

MOST_UNALIKE = 0.1
"""If more than this share of a language's questions are unalike, its options are in an order of their own."""


@dataclass(frozen=True)
class Answers:
    """The answers of one condition in one language to N questions.

    ``gold`` and ``chosen`` [N] are the indices of the right and of the most probable option, ``options`` [N] the
    number of options, and ``confidence`` [N] the probability of the chosen option. ``said`` contains, by measure,
    what the model says of the chosen option when it is asked, as a confidence [N]. ``ceiling`` [N] is 1 where the
    most likely level is the highest, and ``mass`` [N] is the probability of all levels; None without levels.
    """

    cell: Mapping[str, str]
    question_id: NDArray[np.object_]
    gold: NDArray[np.int64]
    options: NDArray[np.int64]
    chosen: NDArray[np.int64]
    confidence: Array
    said: Mapping[str, Array] = field(default_factory=dict)
    ceiling: Array | None = None
    mass: Array | None = None

    @property
    def correct(self) -> Array:
        """1 where the chosen option is the right one, else 0, [N]."""
        return (self.chosen == self.gold).astype(np.float64)


@dataclass(frozen=True)
class Agreement:
    """The agreement of one language with the others.

    ``used`` [N] says which questions have one, and ``share`` [n] is that of each used question. ``others`` is the
    mean number of other languages that answer a used question, NaN without any. ``left_out`` is the number
    of questions that are not used.
    """

    used: NDArray[np.bool_]
    share: Array
    others: float
    left_out: int


def agreement(languages: Sequence[Answers]) -> list[Agreement]:
    """The share of the other languages whose answer is the same option, for each language and question.

    The language itself is not counted. A question is not used if no other language has it, or if it is unalike:
    the right option has another index, or the number of options differs, so the options are not in one
    order. If more than MOST_UNALIKE of a language's questions are unalike, none of them is used.
    """
    column = {name: place for place, name in enumerate(dict.fromkeys(_all_ids(languages)))}
    places = [np.array([column[name] for name in one.question_id], np.int64) for one in languages]
    width = max(int(one.options.max()) for one in languages)
    votes = np.zeros((len(column), width), np.int64)
    least, most = np.full((2, len(column)), np.iinfo(np.int64).max), np.full((2, len(column)), -1)
    for one, place in zip(languages, places, strict=True):
        votes[place, one.chosen] += 1
        for row, values in enumerate((one.gold, one.options)):
            least[row, place] = np.minimum(least[row, place], values)
            most[row, place] = np.maximum(most[row, place], values)
    unalike = (least != most).any(0)
    return [_of_one(one, place, votes, unalike) for one, place in zip(languages, places, strict=True)]


def _all_ids(languages: Sequence[Answers]) -> list[str]:
    return [name for one in languages for name in one.question_id]


def _of_one(
    one: Answers, place: NDArray[np.int64], votes: NDArray[np.int64], unalike: NDArray[np.bool_]
) -> Agreement:
    """The agreement of one language from the ``votes`` [questions, options] of all languages."""
    others = votes[place].sum(1) - 1
    used = (others > 0) & ~unalike[place]
    if unalike[place].mean() > MOST_UNALIKE:
        used = np.zeros(len(place), bool)
    same = votes[place, one.chosen] - 1
    share = same[used] / others[used]
    mean = float(others[used].mean()) if used.any() else float("nan")
    return Agreement(used, share, mean, int((~used).sum()))
