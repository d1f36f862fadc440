"""How a global batch is cut into micro-batches, and which rank computes which of them.

A recipe gives the size of a micro-batch in conversations or in tokens. The cut depends on the order and the lengths
of the conversations only, so it is the same for any number of ranks. Ranks take micro-batches in turn.
"""

import heapq
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from polycal.errors import PolycalError

PADDING_ROW = -1
"""Row number of a row without targets, which fills up a global batch or is the micro-batch of a rank without one."""
BY_SIZE, BY_TOKENS = "micro_batch_size", "tokens_per_micro_batch"
"""The two settings of which a recipe gives one."""
WHOLE_ROUNDS = 8
"""By tokens, the number of micro-batches is a power of two up to here, and a multiple of it above.

So 1, 2, 4 and 8 ranks get equally many, unless a global batch has fewer micro-batches than there are ranks.
"""


class BatchError(PolycalError):
    """A global batch cannot be divided into the requested micro-batches."""


def given(settings: Mapping[str, Any]) -> dict[str, int]:
    """Those of BY_SIZE and BY_TOKENS that the settings of a cell give."""
    return {name: int(settings[name]) for name in (BY_SIZE, BY_TOKENS) if settings.get(name) is not None}


def are_packed(settings: Mapping[str, Any]) -> bool:
    """Whether a micro-batch is one row without padding, as it is by tokens; by size, its rows are padded."""
    return BY_TOKENS in given(settings)


def check(settings: Mapping[str, Any], ranks: int) -> None:
    """Raise BatchError if the settings of a cell give no cut into micro-batches, or none for ``ranks`` ranks.

    A cut by size needs equally many micro-batches on each rank.
    """
    names = given(settings)
    if len(names) != 1:
        raise BatchError(
            f"the settings of the cell give {' and '.join(names) or f'neither {BY_SIZE} nor {BY_TOKENS}'}; they must"
            " give exactly one of the two."
        )
    if are_packed(settings):
        return
    rows, size = int(settings["global_batch_size"]), names[BY_SIZE]
    if rows % (size * ranks):
        raise BatchError(
            f"global_batch_size {rows} does not divide into micro-batches of {size} on {ranks} rank(s);"
            f" global_batch_size must be a multiple of {size * ranks}."
        )


def cut(
    numbers: Sequence[int], lengths: Sequence[int] | np.ndarray, settings: Mapping[str, Any]
) -> list[list[int]]:
    """The micro-batches of the rows ``numbers``, as the settings of a cell say.

    ``lengths[n]`` is the number of tokens of row n.
    """
    if are_packed(settings):
        return by_tokens(numbers, lengths, int(settings[BY_TOKENS]))
    return by_size(numbers, int(settings[BY_SIZE]))


def by_size(numbers: Sequence[int], size: int) -> list[list[int]]:
    """Micro-batches of ``size`` rows in the given order. The last one may have fewer."""
    return [list(numbers[first : first + size]) for first in range(0, len(numbers), size)]


def by_tokens(numbers: Sequence[int], lengths: Sequence[int] | np.ndarray, tokens: int) -> list[list[int]]:
    """Micro-batches of at most ``tokens`` tokens and of nearly equal length, the longest first.

    A row of more than ``tokens`` tokens is a micro-batch of its own. The number of micro-batches is the smallest one
    that WHOLE_ROUNDS allows. Each row, from the longest to the shortest, goes to the micro-batch with the fewest
    tokens (Graham 1969, doi:10.1137/0117039). Rows keep their order within a micro-batch. PADDING_ROW is left out.
    """
    rows = [number for number in numbers if number != PADDING_ROW]
    count = _allowed(math.ceil(sum(int(lengths[row]) for row in rows) / tokens))
    while True:
        groups = _balanced(rows, lengths, count)
        if all(len(group) == 1 or sum(int(lengths[row]) for row in group) <= tokens for group in groups):
            return groups
        count = _allowed(count + 1)


def share(micro_batches: Sequence[list[int]], rank: int, ranks: int) -> list[list[int]]:
    """The micro-batches of one rank, which are every ``ranks``-th.

    All ranks get equally many, because the ranks of ZeRO stage 3 must run in step. A rank without one left gets a
    PADDING_ROW.
    """
    rounds = math.ceil(len(micro_batches) / ranks)
    own = list(micro_batches[rank::ranks])
    return own + [[PADDING_ROW]] * (rounds - len(own))


def empty_share(steps: Sequence[Sequence[list[int]]], ranks: int) -> float:
    """The share of empty micro-batches among all that ``ranks`` ranks compute in ``steps``."""
    filled = sum(len(step) for step in steps)
    return 1 - filled / sum(ranks * math.ceil(len(step) / ranks) for step in steps)


def _allowed(count: int) -> int:
    """The smallest allowed number of micro-batches that is not below ``count``."""
    if count > WHOLE_ROUNDS:
        return WHOLE_ROUNDS * math.ceil(count / WHOLE_ROUNDS)
    return 1 << max(count - 1, 0).bit_length()


def _balanced(rows: Sequence[int], lengths: Sequence[int] | np.ndarray, count: int) -> list[list[int]]:
    """The rows in at most ``count`` groups of nearly equal numbers of tokens, none of them empty."""
    heap: list[tuple[int, int]] = [(0, group) for group in range(min(count, len(rows)))]
    groups: list[list[int]] = [[] for _ in heap]
    for place in sorted(range(len(rows)), key=lambda place: (-lengths[rows[place]], place)):
        load, group = heapq.heappop(heap)
        groups[group].append(place)
        heapq.heappush(heap, (load + int(lengths[rows[place]]), group))
    loads = {group: load for load, group in heap}
    ordered = sorted(range(len(groups)), key=lambda group: (-loads[group], group))
    return [[rows[place] for place in sorted(groups[group])] for group in ordered]
