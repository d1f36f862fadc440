"""Log-likelihoods of all candidates in a batch of trees, from one forward pass."""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from polycal.scoring import plain_forward, tree_forward
from polycal.scoring.models import seconds_since
from polycal.scoring.output_head import MAX_LOGITS, log_prob_chunks
from polycal.scoring.prefix_cache import PrefixCache
from polycal.scoring.token_trees import Tree
from polycal.scoring.tree_attention import KeptStates


@torch.inference_mode()
def log_likelihoods(
    model: Any, batch: Sequence[Tree], prefix: PrefixCache | None = None, keep: KeptStates | None = None
) -> tuple[dict[tuple[int, int], float], float]:
    """Log-likelihoods in nats, by (question, option), summed over the candidate's tokens in float64.

    The second result is the number of seconds that the model needed for its layers at all nodes, without the
    share of padding, and for its output head at the nodes where a prediction is read. With ``keep``, the keys and
    values of the nodes are kept in it for ``continued_log_likelihoods``. The batch must then be one that
    ``tree_forward`` packs.
    """
    if tree_forward.prefers_packed(model, batch):
        return _read(model, batch, functools.partial(tree_forward.packed_forward, keep=keep), prefix, 1.0)
    assert keep is None
    share = sum(map(len, batch)) / (len(batch) * max(map(len, batch)))
    return _read(model, batch, tree_forward.padded_forward, prefix, share)


@torch.inference_mode()
def continued_log_likelihoods(
    model: Any,
    batch: Sequence[Tree],
    prefix: PrefixCache | None,
    states: KeptStates,
    paths: Sequence[Sequence[int]],
) -> tuple[dict[tuple[int, int], float], float]:
    """The results of ``log_likelihoods`` for trees that follow nodes of an earlier batch.

    ``states`` and ``paths`` are those of ``tree_forward.continued_forward``.
    """
    forward = functools.partial(tree_forward.continued_forward, states=states, paths=paths)
    return _read(model, batch, forward, prefix, 1.0)


def _read(
    model: Any,
    batch: Sequence[Tree],
    forward: Callable[[Any, Sequence[Tree], PrefixCache | None, torch.Tensor], torch.Tensor],
    prefix: PrefixCache | None,
    share: float,
) -> tuple[dict[tuple[int, int], float], float]:
    """The results of ``log_likelihoods`` with the pass ``forward``, of whose tokens ``share`` are no padding."""
    offsets = np.cumsum([0, *map(len, batch)]).tolist()
    reads = [
        (offset + read.node, read)
        for offset, tree in zip(offsets, batch, strict=False)
        for read in tree.reads
    ]
    # A node can be read several times, but has one row of hidden states.
    row_of_node = {node: row for row, node in enumerate(sorted({node for node, _ in reads}))}
    candidates = dict.fromkeys((read.question, read.option) for _, read in reads)
    index_of_candidate = {candidate: index for index, candidate in enumerate(candidates)}
    start = time.perf_counter()
    hidden = forward(model, batch, prefix, torch.tensor(list(row_of_node)))
    seconds = seconds_since(start, hidden) * share
    row = torch.tensor([row_of_node[node] for node, _ in reads])
    token = torch.tensor([read.token for _, read in reads])
    candidate = torch.tensor([index_of_candidate[read.question, read.option] for _, read in reads])
    sums = torch.zeros(len(index_of_candidate), dtype=torch.float64)
    # On a CPU larger chunks of logits are not faster.
    max_logits = MAX_LOGITS if hidden.is_cuda else MAX_LOGITS // 4
    for rows, log_p, head_seconds in log_prob_chunks(model, hidden, max_logits):
        seconds += head_seconds
        in_chunk = ((row >= rows.start) & (row < rows.stop)).nonzero()[:, 0]
        values = log_p[(row[in_chunk] - rows.start).to(log_p.device), token[in_chunk].to(log_p.device)]
        sums.index_add_(0, candidate[in_chunk], values.double().cpu())
    return dict(zip(index_of_candidate, sums.tolist(), strict=True)), seconds


@torch.inference_mode()
def own_log_likelihoods(model: Any, batch: Sequence[Tree]) -> tuple[dict[tuple[int, int], float], float]:
    """The results of ``log_likelihoods`` from the model's own forward pass, for trees without branches."""
    start = time.perf_counter()
    logits = plain_forward.own_logits(model, [tree.tokens for tree in batch])
    seconds = seconds_since(start, logits)
    reads = [(number, read) for number, tree in enumerate(batch) for read in tree.reads]
    row = torch.tensor([number for number, _ in reads])
    position = torch.tensor([read.node for _, read in reads])
    token = torch.tensor([read.token for _, read in reads])
    sums: dict[tuple[int, int], float] = {}
    for part, log_p in plain_forward.log_prob_chunks(logits, row, position):
        values = log_p.gather(1, token[part, None].to(log_p.device))[:, 0].double().tolist()
        for (_, read), value in zip(reads[part], values, strict=True):
            key = (read.question, read.option)
            sums[key] = sums.get(key, 0.0) + value
    return sums, seconds
