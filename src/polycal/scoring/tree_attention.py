"""CPU attention over trees of tokens that are packed into one row without padding.

All other operations of a layer work on single tokens, so only attention needs the boundaries of the trees. If
the trees follow a cached prefix, attention to the prefix is computed for all nodes at once, and attention
within each tree separately. Each part also returns the log of its sum of exponentials. With it the two are
combined into the result of one softmax over both (Hydragen, Juravsky et al. 2024, arXiv 2402.05099, section
3.1). The keys of the prefix are neither copied nor computed twice.

A later pass can continue the trees of an earlier one: its nodes attend to nodes whose keys and values were kept.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, DynamicCache

NAME = "trees"
"""The name of this attention in the registry of transformers."""


@dataclass(frozen=True)
class KeptStates:
    """The keys and values of the nodes of a pass, by layer, each [1, heads, nodes, width]."""

    by_layer: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)


@dataclass(frozen=True)
class Earlier:
    """Nodes of an earlier pass that a later one continues.

    ``slots``, int64 [trees, longest], are the indices in the row of the earlier pass of the nodes that each tree
    follows. A shorter row is padded on the right, and the mask of the layout hides the padding.
    """

    states: KeptStates
    slots: Tensor


@dataclass(frozen=True)
class Layout:
    """The positions of the nodes of each tree in the packed row.

    - ``slots``, int64 [trees, longest]: the index in the row of each node of a tree, padded with that of its
      last node.
    - ``nodes``, int64 [nodes]: the index of each node of the row in the flattened ``slots``.
    - ``mask`` [trees, 1, longest, longest]: added to the attention scores. None if every node attends to all
      nodes before it in its tree. With ``earlier`` its last axis begins with the earlier nodes.
    - ``prefix``: keys and values to which every node attends, or None.
    - ``keep``: where the keys and values of this pass are kept, or None.
    - ``earlier``: the nodes of an earlier pass that each tree follows, or None.
    """

    slots: Tensor
    nodes: Tensor
    mask: Tensor | None
    prefix: DynamicCache | None
    keep: KeptStates | None = None
    earlier: Earlier | None = None


def tree_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _: Any,
    *,
    scaling: float,
    layout: Layout,
    **unused: Any,
) -> tuple[Tensor, None]:
    """Attention with the interface of transformers: [1, heads, nodes, width] gives [1, nodes, heads, width].

    It is exact for layers with full attention, and with a sliding window that is longer than every path of a
    tree.
    """
    # This is the operation inside scaled_dot_product_attention, which does not return the log of its sums.
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    if layout.keep is not None:
        layout.keep.by_layer[module.layer_idx] = (key, value)
    queries, *to_tree = (_per_tree(states, layout.slots) for states in (query, key, value))
    if layout.earlier is not None:
        kept = (
            _per_tree(states, layout.earlier.slots)
            for states in layout.earlier.states.by_layer[module.layer_idx]
        )
        to_tree = [torch.cat(pair, dim=2) for pair in zip(kept, to_tree, strict=True)]
    output, log_sum = flash(queries, *to_tree, 0.0, layout.mask is None, attn_mask=layout.mask, scale=scaling)
    within = output.transpose(1, 2).flatten(0, 1).index_select(0, layout.nodes)
    if layout.prefix is None:
        return within[None], None
    cached: Any = layout.prefix.layers[module.layer_idx]
    to_prefix, log_prefix = flash(query, cached.keys, cached.values, 0.0, False, scale=scaling)
    log_within = log_sum.transpose(1, 2).flatten(0, 1).index_select(0, layout.nodes)
    share = torch.sigmoid(log_prefix[0].T - log_within)[..., None]
    return torch.lerp(within, to_prefix[0].transpose(0, 1), share.to(within.dtype))[None], None


def _per_tree(states: Tensor, slots: Tensor) -> Tensor:
    """Rearrange [1, heads, nodes, width] to [trees, heads, longest, width]. Copying complete rows is fast."""
    return (
        states[0].transpose(0, 1).index_select(0, slots.flatten()).unflatten(0, slots.shape).transpose(1, 2)
    )


AttentionInterface.register(NAME, tree_attention)


@contextlib.contextmanager
def use_tree_attention(model: Any) -> Iterator[None]:
    """A context in which the model's layers use ``tree_attention``.

    Each call of the model needs a ``layout``.
    """
    original = model.config._attn_implementation
    model.config._attn_implementation = NAME
    try:
        yield
    finally:
        model.config._attn_implementation = original


@contextlib.contextmanager
def run_only_at(nodes: Tensor, count: int, module: Any) -> Iterator[None]:
    """A context in which ``module`` computes its output only at ``nodes``, and returns 0 elsewhere.

    ``module`` must work on single tokens, with inputs and outputs [1, count, width].
    """

    def select(_: Any, inputs: tuple[Tensor]) -> tuple[Tensor]:
        return (inputs[0].index_select(1, nodes),)

    def scatter(_: Any, __: Any, output: Tensor) -> Tensor:
        return output.new_zeros(1, count, output.shape[-1]).index_copy(1, nodes, output)

    hooks = (module.register_forward_pre_hook(select), module.register_forward_hook(scatter))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
