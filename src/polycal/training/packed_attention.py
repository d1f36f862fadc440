"""Attention within each conversation of a packed row, for any attention of transformers.

While ``within`` is active, the attention function that a layer gets from transformers is called for one conversation
after another. So no conversation can see another, and the cost is the sum of squares of their lengths, not the
square of their sum. Masks are still those of the model; each conversation gets its own part of them.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


@contextmanager
def within(inputs: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside the context, models attend within the conversations of the packed row ``inputs`` only.

    ``inputs`` is a result of ``batches.pack``. Nothing changes for other inputs, which have no ``position_ids``. The
    context must include the backward pass, because that computes the attention again if activations are recomputed.
    """
    positions = inputs.get("position_ids")
    starts = [] if positions is None else (positions[0] == 0).nonzero()[:, 0].tolist()
    if len(starts) < 2:
        yield
        return
    assert positions is not None
    parts = [slice(*ends) for ends in zip(starts, [*starts[1:], positions.shape[1]], strict=True)]
    found = ALL_ATTENTION_FUNCTIONS.get_interface

    def get_interface(*names: Any, **options: Any) -> Callable[..., Any]:
        return _by_parts(found(*names, **options), parts)

    ALL_ATTENTION_FUNCTIONS.get_interface = get_interface  # type: ignore[method-assign]
    try:
        yield
    finally:
        del ALL_ATTENTION_FUNCTIONS.get_interface


def _by_parts(attention: Callable[..., Any], parts: list[slice]) -> Callable[..., Any]:
    """``attention``, called for each of ``parts`` of the one row of queries, keys and values [1, heads, L, D]."""

    def call(
        module: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None = None,
        **options: Any,
    ) -> tuple[Tensor, None]:
        positions = options.pop("position_ids", None)
        outputs = []
        for part in parts:
            own = {} if positions is None else {"position_ids": positions[:, part]}
            tensors = (query[:, :, part], key[:, :, part], value[:, :, part])
            seen = None if attention_mask is None else attention_mask[:, :, part, part]
            outputs.append(attention(module, *tensors, seen, **options, **own)[0])
        return torch.cat(outputs, dim=1), None

    return call
