"""The order in which conversations are trained on, and the arrays of a micro-batch.

The complete order is determined before training: one permutation per epoch, padded with rows without targets to
whole global batches. Every global batch is therefore the same for any number of ranks and any micro-batches, and
resuming needs no random state to find its position.
"""

import hashlib
import math
from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from polycal.data.tokenized import TokenizedRows
from polycal.training.micro_batches import PADDING_ROW
from polycal.vocabulary import IGNORE_INDEX


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
    selected = _selected(rows, numbers, pad_token)
    shape = (len(selected), max(len(tokens) for tokens, _ in selected))
    ids, mask = np.full(shape, pad_token, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    labels = np.full(shape, IGNORE_INDEX, dtype=np.int64)
    for line, (tokens, targets) in enumerate(selected):
        ids[line, : len(tokens)] = tokens
        mask[line, : len(tokens)] = 1
        labels[line, : len(tokens)][targets] = tokens[targets]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def pack(rows: TokenizedRows, numbers: Sequence[int], pad_token: int) -> dict[str, np.ndarray]:
    """The rows ``numbers`` one behind another: ``input_ids``, ``position_ids``, ``labels`` [1, L] int64.

    Position ids restart in each row. A PADDING_ROW becomes one ``pad_token`` without a target. There is no attention
    mask, because transformers would then let a row see the rows before it.
    """
    selected = _selected(rows, numbers, pad_token)
    ids = np.concatenate([tokens for tokens, _ in selected]).astype(np.int64)
    targets = np.concatenate([is_target for _, is_target in selected])
    positions = np.concatenate([np.arange(len(tokens)) for tokens, _ in selected])
    labels = np.where(targets, ids, IGNORE_INDEX)
    return {"input_ids": ids[None], "position_ids": positions[None], "labels": labels[None]}


def _selected(
    rows: TokenizedRows, numbers: Sequence[int], pad_token: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    padding = (np.asarray([pad_token]), np.asarray([False]))
    return [padding if n == PADDING_ROW else rows.row(n) for n in numbers]
