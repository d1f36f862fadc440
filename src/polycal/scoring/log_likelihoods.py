"""Log-likelihoods of candidates by one forward pass over trees of tokens.

The output head runs only at nodes that are read, the log-softmax in float32, after the final soft-cap if there
is one. On a CPU trees stand one behind another and attention alone knows of them (``attention``); elsewhere, and
where attention itself is soft-capped or does not reach over a whole path, they are padded rows under a mask that
lets each node see its ancestors, within the window where a layer has one: sliding and alternating attention are
as exact as full attention.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from polycal.scoring import tree_attention
from polycal.scoring.token_trees import Tree

# Logits held at once, as numbers of the vocabulary; a quarter of them on a CPU, where more gains no time.
LOGITS = 2**24


def branching(model: Any) -> bool:
    """True where the model can take trees: rotary positions, full or sliding layers, an attention with masks."""
    return (
        model.config._attn_implementation in ("eager", "sdpa")
        and getattr(model.config, "rope_parameters", None) is not None
        and kinds(model.config) <= {"full_attention", "sliding_attention"}
    )


def kinds(config: Any) -> set[str]:
    """Kinds of attention among the model's layers."""
    named = getattr(config, "layer_types", None)
    if named is not None:
        return set(named)
    return {"full_attention" if getattr(config, "sliding_window", None) is None else "sliding_attention"}


class Beginning(DynamicCache):
    """Keys and values of a shared beginning. What follows reads them and leaves nothing behind."""

    def __init__(self, model: Any, tokens: np.ndarray) -> None:
        super().__init__()
        self.length = len(tokens)
        self.whole = False
        with torch.inference_mode():
            model.model(input_ids=torch.tensor(tokens, device=model.device)[None], past_key_values=self)
        self.whole = True

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Keys and values of the beginning and what follows, [batch, heads, length, width]."""
        if not self.whole:
            return super().update(key_states, value_states, layer_idx, *args, **kwargs)
        layer: Any = self.layers[layer_idx]
        count = key_states.shape[0]
        return (
            torch.cat([layer.keys.expand(count, -1, -1, -1), key_states], dim=-2),
            torch.cat([layer.values.expand(count, -1, -1, -1), value_states], dim=-2),
        )


def unpadded(model: Any, batch: Sequence[Tree]) -> bool:
    """True where attention by trees is exact and was measured to be the faster way."""
    config = model.config
    reach = config.sliding_window if "sliding_attention" in kinds(config) else None
    return (
        model.device.type == "cpu"
        and config._attn_implementation == "sdpa"
        and branching(model)
        and hasattr(model.model.layers[-1], "mlp")
        and (reach is None or max(int(tree.depth.max()) for tree in batch) < reach)
    )


def in_one_row(model: Any, batch: Sequence[Tree], beginning: Beginning | None, read: Tensor) -> Tensor:
    """Hidden states [read, width] of trees one behind another, at the nodes ``read`` of that row."""
    ids, depth, end, inside = in_rows(batch)
    # the number of a tree's last node goes on behind it
    place = inside.flatten().cumsum(0).view_as(inside) - 1
    mask = None
    if not all(tree.unbranched for tree in batch):
        sees = ancestors(depth, end)[:, None]
        mask = torch.zeros(sees.shape, dtype=model.dtype).masked_fill_(~sees, -torch.inf)
    layout = tree_attention.Layout(place, inside.flatten().nonzero()[:, 0], mask, beginning)
    # in the last layer, whatever follows attention is needed where it is read
    last = tree_attention.only_at(read, len(layout.back), model.model.layers[-1].mlp)
    row = {"input_ids": ids[inside][None], "position_ids": depth[inside][None]}
    with tree_attention.of_trees(model), last:
        made = model.model(**row, use_cache=False, layout=layout)
    return made.last_hidden_state[0, read]


def padded(model: Any, batch: Sequence[Tree], beginning: Beginning | None, read: Tensor) -> Tensor:
    """The same of trees in rows of their own, under masks."""
    *rows, inside = in_rows(batch)
    ids, depth, end = (values.to(model.device) for values in rows)
    told: dict[str, Any] = {}
    # ordinary sequences need no mask, which lets attention take its fastest way
    if beginning is not None or not all(tree.straight for tree in batch):
        mask = masks(model, depth, end, beginning.length if beginning else 0)
        told = {"position_ids": depth, "attention_mask": mask, "past_key_values": beginning}
    made = model.model(input_ids=ids, use_cache=False, **told)
    return made.last_hidden_state[inside.to(model.device)][read.to(model.device)]


def in_rows(batch: Sequence[Tree]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tokens, depths and ends of trees, and where they stand, each [trees, longest], padded on the right."""
    length = max(map(len, batch))
    ids, depth = (torch.zeros(len(batch), length, dtype=torch.long) for _ in range(2))
    # padding sees itself, and nothing sees it
    end = torch.arange(1, length + 1).repeat(len(batch), 1)
    for line, tree in enumerate(batch):
        ids[line, : len(tree)] = torch.from_numpy(tree.tokens)
        depth[line, : len(tree)] = torch.from_numpy(tree.depth)
        end[line, : len(tree)] = torch.from_numpy(tree.end)
    return ids, depth, end, torch.arange(length) < torch.tensor([len(tree) for tree in batch])[:, None]


def ancestors(depth: Tensor, end: Tensor) -> Tensor:
    """Which node has which above it, or is it, [trees, nodes, nodes]."""
    place = torch.arange(depth.shape[1], device=depth.device)
    return (place[None, :] <= place[:, None]) & (place[None, :, None] < end[:, None, :])


def masks(model: Any, depth: Tensor, end: Tensor, before: int) -> Any:
    """Who sees whom, [trees, 1, nodes, before + nodes], in the form that the model's layers take.

    ``depth`` and ``end`` are [trees, nodes]; ``before`` positions precede every node.
    """
    above = ancestors(depth, end)
    lead = torch.arange(before, device=depth.device)
    sees = torch.cat([above.new_ones(*depth.shape, before), above], dim=-1)[:, None]
    at = torch.cat([lead.expand(len(depth), -1), depth], dim=-1)
    made = {}
    for kind in kinds(model.config):
        mask = sees
        if kind == "sliding_attention":
            near = depth[:, :, None] - at[:, None, :] < model.config.sliding_window
            mask = sees & near[:, None]
        if model.config._attn_implementation == "eager":
            mask = torch.where(mask, 0.0, torch.finfo(model.dtype).min).to(model.dtype)
        made[kind] = mask
    return made if len(made) > 1 else next(iter(made.values()))


@torch.inference_mode()
def log_likelihoods(
    model: Any, batch: Sequence[Tree], beginning: Beginning | None = None
) -> tuple[dict[tuple[int, int], float], float]:
    """Natural log-likelihood by (question, option), summed over its tokens; and seconds of the model's pass."""
    starts = np.cumsum([0, *map(len, batch)]).tolist()
    reads = [
        (start + read.node, read) for start, tree in zip(starts, batch, strict=False) for read in tree.reads
    ]
    # each node that is read, once
    index = {node: number for number, node in enumerate(sorted({node for node, _ in reads}))}
    owner = {
        pair: number for number, pair in enumerate(dict.fromkeys((r.question, r.option) for _, r in reads))
    }
    begun, dense = time.perf_counter(), unpadded(model, batch)
    at = (in_one_row if dense else padded)(model, batch, beginning, torch.tensor(list(index)))
    seconds = _since(begun, at)
    if not dense:
        # what padding took is not the model's work
        seconds *= sum(map(len, batch)) / (len(batch) * max(map(len, batch)))
    row = torch.tensor([index[node] for node, _ in reads])
    token = torch.tensor([read.token for _, read in reads])
    belongs = torch.tensor([owner[read.question, read.option] for _, read in reads])
    head, softcap = model.get_output_embeddings(), getattr(model.config, "final_logit_softcapping", None)
    sums = torch.zeros(len(owner), dtype=torch.float64)
    step = max(1, (LOGITS if at.is_cuda else LOGITS // 4) // head.weight.shape[0])
    for first in range(0, len(at), step):
        begun = time.perf_counter()
        logits = head(at[first : first + step])
        seconds += _since(begun, logits)
        if softcap is not None:
            logits = torch.tanh(logits / softcap) * softcap
        logp = logits.float().log_softmax(-1)
        mine = ((row >= first) & (row < first + step)).nonzero()[:, 0]
        value = logp[(row[mine] - first).to(logp.device), token[mine].to(logp.device)]
        sums.index_add_(0, belongs[mine], value.double().cpu())
    return dict(zip(owner, sums.tolist(), strict=True)), seconds


def _since(begun: float, made: Tensor) -> float:
    if made.is_cuda:
        torch.cuda.synchronize(made.device)
    return time.perf_counter() - begun
