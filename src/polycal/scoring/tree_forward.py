"""One forward pass of the model's layers over a batch of trees.

On a CPU the trees are packed into one row, and only attention uses their boundaries (``tree_attention``). On
a GPU, and if attention has a soft-cap or a window shorter than a path, each tree is a padded row with a mask.
A node then attends to its ancestors, within the window if the layer has one. So sliding and alternating
attention are as exact as full attention.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from polycal.scoring import plain_forward, tree_attention
from polycal.scoring.models import attention_kinds
from polycal.scoring.prefix_cache import PrefixCache
from polycal.scoring.token_trees import Tree
from polycal.scoring.tree_attention import Earlier, KeptStates, Layout


def supports_trees(model: Any) -> bool:
    """Whether the model has rotary positions, full or sliding layers, and an attention that accepts masks."""
    return (
        model.config._attn_implementation in ("eager", "sdpa")
        and getattr(model.config, "rope_parameters", None) is not None
        and attention_kinds(model.config) <= {"full_attention", "sliding_attention"}
    )


def prefers_packed(model: Any, batch: Sequence[Tree]) -> bool:
    """Whether ``packed_forward`` is exact for the batch. It is then also faster, as measured."""
    config = model.config
    window = config.sliding_window if "sliding_attention" in attention_kinds(config) else None
    return (
        model.device.type == "cpu"
        and config._attn_implementation == "sdpa"
        and supports_trees(model)
        and hasattr(model.model.layers[-1], "mlp")
        and (window is None or max(int(tree.depth.max()) for tree in batch) < window)
    )


def packed_forward(
    model: Any,
    batch: Sequence[Tree],
    prefix: PrefixCache | None,
    nodes: Tensor,
    keep: KeptStates | None = None,
) -> Tensor:
    """The last hidden states [N, width] at ``nodes``, int64 [N], which index the nodes of all trees in order.

    With ``keep``, the keys and values of all nodes are kept in it for ``continued_forward``.
    """
    padded = pad_trees(batch)
    _, depth, end, _ = padded
    visible = None if all(tree.unbranched for tree in batch) else ancestors(depth, end)
    return _run_packed(model, padded, visible, nodes, prefix, keep=keep)


def continued_forward(
    model: Any,
    batch: Sequence[Tree],
    prefix: PrefixCache | None,
    nodes: Tensor,
    states: KeptStates,
    paths: Sequence[Sequence[int]],
) -> Tensor:
    """The results of ``packed_forward`` for trees that follow nodes of an earlier pass.

    ``states`` are those of the earlier pass. ``paths`` contains, for each tree, the indices in the row of that pass
    of the nodes that all its nodes attend to. The depth of a tree's nodes continues theirs.
    """
    padded = pad_trees(batch)
    _, depth, end, _ = padded
    slots = plain_forward.padded(paths)
    in_path = torch.arange(slots.shape[1]) < torch.tensor([len(path) for path in paths])[:, None]
    visible = torch.cat([in_path[:, None].expand(-1, depth.shape[1], -1), ancestors(depth, end)], dim=-1)
    return _run_packed(model, padded, visible, nodes, prefix, earlier=Earlier(states, slots))


def _run_packed(
    model: Any,
    padded: tuple[Tensor, Tensor, Tensor, Tensor],
    visible: Tensor | None,
    nodes: Tensor,
    prefix: PrefixCache | None,
    keep: KeptStates | None = None,
    earlier: Earlier | None = None,
) -> Tensor:
    """The last hidden states at ``nodes`` of the trees ``padded`` (``pad_trees``), computed in one row.

    ``visible``, bool [trees, nodes, earlier nodes + nodes], is whether a node attends to another one. None means that
    every node attends to all nodes before it in its tree. The other arguments are those of ``Layout``.
    """
    ids, depth, _, is_node = padded
    # The padding repeats the index of a tree's last node.
    slots = is_node.flatten().cumsum(0).view_as(is_node) - 1
    mask = None
    if visible is not None:
        mask = torch.zeros(visible.shape, dtype=model.dtype).masked_fill_(~visible, -torch.inf)[:, None]
    layout = Layout(slots, is_node.flatten().nonzero()[:, 0], mask, prefix, keep, earlier)
    # The last layer's feed-forward is needed only at nodes with a prediction to read.
    last = tree_attention.run_only_at(nodes, len(layout.nodes), model.model.layers[-1].mlp)
    row = {"input_ids": ids[is_node][None], "position_ids": depth[is_node][None]}
    with tree_attention.use_tree_attention(model), last:
        output = model.model(**row, use_cache=False, layout=layout)
    return output.last_hidden_state[0, nodes]


def padded_forward(model: Any, batch: Sequence[Tree], prefix: PrefixCache | None, nodes: Tensor) -> Tensor:
    """The results of ``packed_forward``, computed with each tree in its own padded row with a mask."""
    *tensors, is_node = pad_trees(batch)
    ids, depth, end = (values.to(model.device) for values in tensors)
    inputs: dict[str, Any] = {}
    # Ordinary sequences need no mask. Without one attention can use its fastest kernel.
    if prefix is not None or not all(tree.is_sequence for tree in batch):
        mask = masks(model, depth, end, prefix.length if prefix else 0)
        inputs = {"position_ids": depth, "attention_mask": mask, "past_key_values": prefix}
    output = model.model(input_ids=ids, use_cache=False, **inputs)
    return output.last_hidden_state[is_node.to(model.device)][nodes.to(model.device)]


def pad_trees(batch: Sequence[Tree]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The tokens, depth and end of each tree's nodes, and which entries are nodes, each [trees, longest].

    The padding is on the right. It attends only to itself, and no node attends to it.
    """
    length = max(map(len, batch))
    ids, depth = (torch.zeros(len(batch), length, dtype=torch.long) for _ in range(2))
    end = torch.arange(1, length + 1).repeat(len(batch), 1)
    for row, tree in enumerate(batch):
        ids[row, : len(tree)] = torch.from_numpy(tree.tokens)
        depth[row, : len(tree)] = torch.from_numpy(tree.depth)
        end[row, : len(tree)] = torch.from_numpy(tree.end)
    return ids, depth, end, torch.arange(length) < torch.tensor([len(tree) for tree in batch])[:, None]


def ancestors(depth: Tensor, end: Tensor) -> Tensor:
    """Whether node j is node i or an ancestor of it, at (i, j) of bool [trees, nodes, nodes]."""
    index = torch.arange(depth.shape[1], device=depth.device)
    return (index[None, :] <= index[:, None]) & (index[None, :, None] < end[:, None, :])


def masks(model: Any, depth: Tensor, end: Tensor, prefix_length: int) -> Any:
    """The attention mask [trees, 1, nodes, prefix + nodes], in the form that the model's layers expect.

    ``depth`` and ``end`` are [trees, nodes]. Every node attends to the ``prefix_length`` positions of the
    prefix, within the window if the layer has one. For a model with several kinds of attention the result is
    a dict with one mask per kind.
    """
    to_nodes = ancestors(depth, end)
    prefix = torch.arange(prefix_length, device=depth.device)
    visible = torch.cat([to_nodes.new_ones(*depth.shape, prefix_length), to_nodes], dim=-1)[:, None]
    positions = torch.cat([prefix.expand(len(depth), -1), depth], dim=-1)
    by_kind = {}
    for kind in attention_kinds(model.config):
        mask = visible
        if kind == "sliding_attention":
            in_window = depth[:, :, None] - positions[:, None, :] < model.config.sliding_window
            mask = visible & in_window[:, None]
        if model.config._attn_implementation == "eager":
            mask = torch.where(mask, 0.0, torch.finfo(model.dtype).min).to(model.dtype)
        by_kind[kind] = mask
    return by_kind if len(by_kind) > 1 else next(iter(by_kind.values()))
