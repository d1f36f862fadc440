"""Log-likelihoods of candidates by one forward pass over trees of tokens.

The output head runs only at nodes that are read, the log-softmax in float32, after the final soft-cap if there
is one. A mask lets each node see its ancestors, within the window where a layer has one, so sliding and
alternating attention are as exact as full attention.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from polycal.packing import Tree

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
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of the beginning and what follows, [batch, heads, length, width]."""
        if not self.whole:
            return super().update(key_states, value_states, layer_idx, *args, **kwargs)
        layer: Any = self.layers[layer_idx]
        count = key_states.shape[0]
        return (
            torch.cat([layer.keys.expand(count, -1, -1, -1), key_states], dim=-2),
            torch.cat([layer.values.expand(count, -1, -1, -1), value_states], dim=-2),
        )


def hidden_states(model: Any, batch: Sequence[Tree], beginning: Beginning | None) -> torch.Tensor:
    """Hidden states [batch, nodes, width] of rows behind a beginning. Rows are padded on the right."""
    length = max(map(len, batch))
    ids, depth = (torch.zeros(len(batch), length, dtype=torch.long) for _ in range(2))
    # padding sees itself, and nothing sees it
    end = torch.arange(1, length + 1).repeat(len(batch), 1)
    for line, tree in enumerate(batch):
        ids[line, : len(tree)] = torch.from_numpy(tree.tokens)
        depth[line, : len(tree)] = torch.from_numpy(tree.depth)
        end[line, : len(tree)] = torch.from_numpy(tree.end)
    ids, depth, end = (values.to(model.device) for values in (ids, depth, end))
    if beginning is None and all(tree.straight for tree in batch):
        # ordinary sequences need no mask, which lets attention take its fastest way
        return model.model(input_ids=ids, use_cache=False).last_hidden_state
    return model.model(
        input_ids=ids,
        position_ids=depth,
        attention_mask=masks(model, depth, end, beginning.length if beginning else 0),
        past_key_values=beginning,
        use_cache=False,
    ).last_hidden_state


def masks(model: Any, depth: torch.Tensor, end: torch.Tensor, before: int) -> Any:
    """Who sees whom, [batch, 1, nodes, before + nodes], in the form that the model's layers take.

    ``depth`` and ``end`` are [batch, nodes]; ``before`` positions precede every node.
    """
    place = torch.arange(depth.shape[1], device=depth.device)
    ancestor = (place[None, :] <= place[:, None]) & (place[None, :, None] < end[:, None, :])
    lead = torch.arange(before, device=depth.device)
    sees = torch.cat([ancestor.new_ones(*depth.shape, before), ancestor], dim=-1)[:, None]
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
    """Natural log-likelihood by (question, option), summed over its tokens; and seconds of the layers' pass."""
    begun = time.perf_counter()
    hidden = hidden_states(model, batch, beginning)
    if hidden.device.type == "cuda":
        torch.cuda.synchronize(hidden.device)
    seconds = time.perf_counter() - begun
    reads = [(line, read) for line, tree in enumerate(batch) for read in tree.reads]
    # each place that is read, once
    index = {pair: number for number, pair in enumerate(sorted({(line, r.node) for line, r in reads}))}
    owner = {
        pair: number for number, pair in enumerate(dict.fromkeys((r.question, r.option) for _, r in reads))
    }
    lines, places = (torch.tensor(values, device=hidden.device) for values in zip(*index, strict=True))
    at = hidden[lines, places]
    row = torch.tensor([index[line, read.node] for line, read in reads])
    token = torch.tensor([read.token for _, read in reads])
    belongs = torch.tensor([owner[read.question, read.option] for _, read in reads])
    head, softcap = model.get_output_embeddings(), getattr(model.config, "final_logit_softcapping", None)
    sums = torch.zeros(len(owner), dtype=torch.float64)
    step = max(1, (LOGITS if at.is_cuda else LOGITS // 4) // head.weight.shape[0])
    for first in range(0, len(at), step):
        logits = head(at[first : first + step])
        if softcap is not None:
            logits = torch.tanh(logits / softcap) * softcap
        logp = logits.float().log_softmax(-1)
        mine = ((row >= first) & (row < first + step)).nonzero()[:, 0]
        value = logp[(row[mine] - first).to(logp.device), token[mine].to(logp.device)]
        sums.index_add_(0, belongs[mine], value.double().cpu())
    return dict(zip(owner, sums.tolist(), strict=True)), seconds
