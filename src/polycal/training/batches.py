"""The order in which conversations are trained on, and how they become micro-batches.

The complete order is determined before training: one permutation per epoch, padded with rows without targets to
whole global batches. Every global batch is therefore the same for any number of ranks and any micro-batch size,
and resuming needs no random state to find its position.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from polycal.data.tokenized import TokenizedRows
from polycal.errors import PolycalError
from polycal.vocabulary import IGNORE_INDEX

PADDING_ROW = -1
"""Row number of a row without targets, which fills up a global batch."""


class BatchError(PolycalError):
    """A global batch cannot be divided into the requested micro-batches."""


def stable_seed(*parts: object) -> int:
    """A 63-bit seed that depends on ``parts`` only, not on the process or the platform."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def training_order(rows: int, epochs: str, global_batch_size: int, seed: str) -> np.ndarray:
    """Row numbers [steps × global_batch_size] in training order.

    Each epoch is a new permutation of the rows, padded with PADDING_ROW to whole global batches. ``epochs`` is a
    decimal number. It may be fractional; training then stops within an epoch, after a complete global batch.
    """
    steps_per_epoch = math.ceil(rows / global_batch_size)
    steps = math.ceil(Decimal(epochs) * steps_per_epoch)
    order = []
    for epoch in range(math.ceil(steps / steps_per_epoch)):
        shuffled = np.random.default_rng(stable_seed("order", seed, epoch)).permutation(rows)
        padding = (0, steps_per_epoch * global_batch_size - rows)
        order.append(np.pad(shuffled, padding, constant_values=PADDING_ROW))
    return np.concatenate(order)[: steps * global_batch_size]


def pad(rows: TokenizedRows, numbers: Sequence[int], pad_token: int) -> dict[str, np.ndarray]:
    """The rows ``numbers`` as a micro-batch: ``input_ids``, ``attention_mask``, ``labels`` [B, L] int64.

    Rows are padded on the right. ``labels`` is IGNORE_INDEX for tokens that are not targets. A PADDING_ROW among
    ``numbers`` becomes one ``pad_token`` without a target.
    """
    padding = (np.asarray([pad_token]), np.asarray([False]))
    selected = [padding if n == PADDING_ROW else rows.row(n) for n in numbers]
    shape = (len(selected), max(len(tokens) for tokens, _ in selected))
    ids, mask = np.full(shape, pad_token, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    labels = np.full(shape, IGNORE_INDEX, dtype=np.int64)
    for line, (tokens, targets) in enumerate(selected):
        ids[line, : len(tokens)] = tokens
        mask[line, : len(tokens)] = 1
        labels[line, : len(tokens)][targets] = tokens[targets]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


@dataclass(frozen=True)
class BatchSplit:
    """How a global batch is divided: ``global_batch_size`` = ``micro_batch_size`` × ``accumulation`` × ``ranks``.

    All sizes are numbers of rows. Raises BatchError if ``accumulation`` is not a whole number.
    """

    global_batch_size: int
    micro_batch_size: int
    ranks: int

    def __post_init__(self) -> None:
        if self.global_batch_size % (self.micro_batch_size * self.ranks):
            raise BatchError(
                f"global_batch_size {self.global_batch_size} does not divide into micro-batches of"
                f" {self.micro_batch_size} on {self.ranks} rank(s); global_batch_size must be a multiple of"
                f" {self.micro_batch_size * self.ranks}."
            )

    @property
    def accumulation(self) -> int:
        """Micro-batches per rank and optimizer step."""
        return self.global_batch_size // (self.micro_batch_size * self.ranks)


def settings_split(settings: Mapping[str, Any], ranks: int) -> BatchSplit:
    """How the global batch of a cell's settings is divided over ``ranks`` ranks; raises BatchError if it cannot be."""
    return BatchSplit(int(settings["global_batch_size"]), int(settings["micro_batch_size"]), ranks)


def heldout_micro_batches(
    rows: TokenizedRows, micro_batch_size: int, rank: int, ranks: int
) -> Iterable[list[int]]:
    """The row numbers of each held-out micro-batch of one rank, in the order of ``rows``.

    All ranks get the same number of micro-batches, because the ranks of ZeRO stage 3 must run in step. A rank
    without rows left gets a micro-batch of one PADDING_ROW.
    """
    for first in range(0, len(rows), micro_batch_size * ranks):
        share = range(first + rank * micro_batch_size, min(first + (rank + 1) * micro_batch_size, len(rows)))
        yield list(share) or [PADDING_ROW]
