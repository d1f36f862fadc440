"""The check before training on packed rows: a conversation behind another gives the same states as it does alone.

A model whose layers pass on a state, such as a convolution or a recurrence, or that does not use the position ids,
fails it. No list of models is needed. The model and all random states are restored exactly.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from polycal.data.model_loading import describe, describe_error
from polycal.data.tokenized import TokenizedRows
from polycal.errors import CellError
from polycal.training import batches, packed_attention, undisturbed

TOLERANCE = 1e-4
"""Largest difference of hidden states that is allowed, relative to their norm."""
MAX_TOKENS = 64
"""Number of tokens of each conversation that are compared."""


class PackingError(CellError):
    """A model cannot be trained on packed rows. The message says why."""


def check(model: Any, rows: TokenizedRows, numbers: Sequence[int]) -> float:
    """Compare two of the rows ``numbers`` in one packed row with each of them alone.

    ``model`` is in float32 and not partitioned. If there is only one row, it is taken twice. Returns the largest
    relative difference of the last hidden states of a row. Raises PackingError if it is above TOLERANCE, or if the
    model takes no position ids.
    """
    both = [rows.row(numbers[place]) for place in (0, -1)]
    pair = TokenizedRows.collect((tokens[:MAX_TOKENS], labels[:MAX_TOKENS]) for tokens, labels in both)
    try:
        with undisturbed.borrowed(model, torch.device("cpu")), torch.no_grad():
            model.eval()
            packed = _states(model, pair, [0, 1])
            alone = [_states(model, pair, [number]) for number in (0, 1)]
    except Exception as error:
        raise PackingError(
            f"{describe(model)}: its forward pass fails on a packed row of conversations ({describe_error(error)});"
            " give the recipe micro_batch_size instead of tokens_per_micro_batch."
        ) from error
    parts = packed.split([len(part) for part in alone])
    differences = [float((a - b).norm() / b.norm()) for a, b in zip(parts, alone, strict=True)]
    # written so that a NaN is refused too
    if not max(differences) <= TOLERANCE:
        raise PackingError(
            f"{describe(model)}: a conversation behind another in one row has hidden states that differ by"
            f" {max(differences):.2g} of their norm from those that it has alone, where {TOLERANCE:g} is allowed; give"
            " the recipe micro_batch_size instead of tokens_per_micro_batch."
        )
    return max(differences)


def _states(model: Any, rows: TokenizedRows, numbers: Sequence[int]) -> torch.Tensor:
    """The last hidden states of the packed rows ``numbers``, [L, D]."""
    arrays: dict[str, np.ndarray] = batches.pack(rows, numbers, 0)
    inputs = {name: torch.from_numpy(array) for name, array in arrays.items() if name != "labels"}
    with packed_attention.within(inputs):
        states: torch.Tensor = model.base_model(**inputs, use_cache=False).last_hidden_state[0]
    return states
