"""Attention over trees of tokens that stand one behind another in one row, with no padding between them.

All else in a layer works on single tokens, so only attention has to know where a tree begins and ends. Trees that
stand behind a kept beginning attend to it once for all of them and to their own nodes apart; each part brings the
log of its sum of exponentials, by which the two are joined as if there had been one softmax (Juravsky et al. 2024,
Hydragen, section 3.1). Keys of the beginning are neither copied nor computed twice.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, DynamicCache

NAME = "trees"


@dataclass(frozen=True)
class Layout:
    """Where trees stand in a row of nodes.

    ``place`` [trees, longest]: number in the row of a tree's node, padded with its last. ``back`` [nodes]: where each
    node is in ``place``, flattened. ``mask`` [trees, 1, longest, longest], added to what attention multiplies; None
    where every node sees all nodes of its tree before it. ``beginning``: keys and values that every node sees.
    """

    place: Tensor
    back: Tensor
    mask: Tensor | None
    beginning: DynamicCache | None


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _: Any,
    *,
    scaling: float,
    layout: Layout,
    **more: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers asks for it: states [1, heads, nodes, width], what it gives [1, nodes, heads, width].

    On a CPU, and for layers whose window, if they have one, is longer than every path.
    """
    # the operation behind scaled_dot_product_attention, which keeps the logs of its sums to itself
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    apart = (_apart(states, layout.place) for states in (query, key, value))
    found, log_sum = flash(*apart, 0.0, layout.mask is None, attn_mask=layout.mask, scale=scaling)
    own = found.transpose(1, 2).flatten(0, 1).index_select(0, layout.back)
    if layout.beginning is None:
        return own[None], None
    kept: Any = layout.beginning.layers[module.layer_idx]
    before, log_before = flash(query, kept.keys, kept.values, 0.0, False, scale=scaling)
    log_own = log_sum.transpose(1, 2).flatten(0, 1).index_select(0, layout.back)
    share = torch.sigmoid(log_before[0].T - log_own)[..., None]
    return torch.lerp(own, before[0].transpose(0, 1), share.to(own.dtype))[None], None


def _apart(states: Tensor, place: Tensor) -> Tensor:
    """[1, heads, nodes, width] as [trees, heads, longest, width]; whole rows are copied, which is fast."""
    return (
        states[0].transpose(0, 1).index_select(0, place.flatten()).unflatten(0, place.shape).transpose(1, 2)
    )


AttentionInterface.register(NAME, attend)


@contextlib.contextmanager
def only_at(nodes: Tensor, count: int, module: Any) -> Iterator[None]:
    """Let a module that works on single tokens, [1, count, width], do so at ``nodes`` only; elsewhere it gives 0."""

    def pick(_: Any, given: tuple[Tensor]) -> tuple[Tensor]:
        return (given[0].index_select(1, nodes),)

    def put_back(_: Any, __: Any, made: Tensor) -> Tensor:
        return made.new_zeros(1, count, made.shape[-1]).index_copy(1, nodes, made)

    hooks = (module.register_forward_pre_hook(pick), module.register_forward_hook(put_back))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def of_trees(model: Any) -> Iterator[None]:
    """Let the model's layers attend by trees; each call then needs a ``layout``."""
    usual = model.config._attn_implementation
    model.config._attn_implementation = NAME
    try:
        yield
    finally:
        model.config._attn_implementation = usual
