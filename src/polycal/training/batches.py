"""Training rows, the order in which they are seen, and how they become batches.

The order is written down in full before training: a permutation an epoch, its last global batch filled up
with rows that hold no target. So every global batch is the same whatever the number of ranks and the size
of a micro-batch, and resuming needs no random state to find its place.
"""

import hashlib
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import numpy as np

from polycal.errors import PolycalError

IGNORED = -100
NO_ROW = -1


@dataclass(frozen=True)
class Rows:
    """N rows end to end: ``tokens`` [T] int32, ``targets`` [T] bool, row i from ``starts[i]`` to ``starts[i+1]``."""

    tokens: np.ndarray
    targets: np.ndarray
    starts: np.ndarray

    @classmethod
    def collect(cls, rows: Iterable[tuple[np.ndarray, np.ndarray]]) -> Self:
        """Rows from pairs of tokens and targets."""
        tokens, targets, starts = [np.zeros(0, np.int32)], [np.zeros(0, bool)], [0]
        for ids, wanted in rows:
            tokens.append(ids)
            targets.append(wanted)
            starts.append(starts[-1] + len(ids))
        return cls(np.concatenate(tokens), np.concatenate(targets), np.asarray(starts, dtype=np.int64))

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.starts) - 1

    def row(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and targets of one row."""
        part = slice(self.starts[number], self.starts[number + 1])
        return self.tokens[part], self.targets[part]

    def write(self, folder: Path) -> None:
        """Write the rows as a folder of arrays, aside and renamed."""
        aside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
        aside.mkdir(parents=True)
        for name in ("tokens", "targets", "starts"):
            np.save(aside / f"{name}.npy", getattr(self, name))
        os.rename(aside, folder)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Rows of a written folder, mapped, not loaded: the ranks of a node share one copy."""
        return cls(
            *(np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("tokens", "targets", "starts"))
        )


def draw(*words: object) -> int:
    """A 63-bit number that depends on ``words`` only: the seed of whatever they name."""
    digest = hashlib.sha256("/".join(map(str, words)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def order(rows: int, epochs: str, batch: int, seed: str) -> np.ndarray:
    """Row numbers [steps × batch] in training order; NO_ROW stands for a row without targets.

    ``epochs`` is a decimal number; a broken one ends within an epoch, after a whole global batch.
    """
    a_pass = math.ceil(rows / batch)
    steps = math.ceil(Decimal(epochs) * a_pass)
    seen = []
    for epoch in range(math.ceil(steps / a_pass)):
        shuffled = np.random.default_rng(draw("order", seed, epoch)).permutation(rows)
        seen.append(np.pad(shuffled, (0, a_pass * batch - rows), constant_values=NO_ROW))
    return np.concatenate(seen)[: steps * batch]


def pad(rows: Rows, numbers: Sequence[int], filler: int) -> dict[str, np.ndarray]:
    """A micro-batch: ``input_ids``, ``attention_mask``, ``labels`` [B, L] int64, padded on the right.

    ``filler`` is the token of padding and of rows without targets, which are one token long.
    """
    empty = (np.asarray([filler]), np.asarray([False]))
    taken = [empty if n == NO_ROW else rows.row(n) for n in numbers]
    shape = (len(taken), max(len(tokens) for tokens, _ in taken))
    ids, mask = np.full(shape, filler, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    labels = np.full(shape, IGNORED, dtype=np.int64)
    for line, (tokens, targets) in enumerate(taken):
        ids[line, : len(tokens)] = tokens
        mask[line, : len(tokens)] = 1
        labels[line, : len(tokens)][targets] = tokens[targets]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


@dataclass(frozen=True)
class Split:
    """How a global batch is cut: ``batch`` = ``micro`` × ``accumulation`` × ``ranks`` conversations."""

    batch: int
    micro: int
    ranks: int

    def __post_init__(self) -> None:
        if self.batch % (self.micro * self.ranks):
            raise BatchError(
                f"batch {self.batch} does not divide into micro-batches of {self.micro} on {self.ranks} rank(s);"
                f" batch must be a multiple of {self.micro * self.ranks}."
            )

    @property
    def accumulation(self) -> int:
        """Micro-batches of one rank in a step."""
        return self.batch // (self.micro * self.ranks)


class BatchError(PolycalError):
    """A global batch that cannot be cut as asked."""


def held_out(rows: Rows, micro: int, rank: int, ranks: int) -> Iterable[list[int]]:
    """Row numbers of one rank's micro-batches; every rank gets as many, so that all stay in step."""
    for first in range(0, len(rows), micro * ranks):
        mine = range(first + rank * micro, min(first + (rank + 1) * micro, len(rows)))
        yield list(mine) or [NO_ROW]


def settings_split(settings: dict[str, Any], ranks: int) -> Split:
    """The split of a cell's settings on ``ranks`` ranks; raises BatchError where it does not come out even."""
    return Split(int(settings["global_batch_size"]), int(settings["micro_batch_size"]), ranks)
