"""The plain path: the model's own forward pass on rows of tokens, with the logits that transformers returns.

It assumes nothing about the model except that each token is predicted from the tokens before it.
``self_check`` compares the fast path with the model's own forward pass. If they differ, the run uses the
plain path.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polycal.data import model_loading
from polycal.scoring.output_head import MAX_LOGITS

FAST, PLAIN, SINGLE = "fast", "plain", "single"
"""The paths through a model: polycal's own passes, the model's forward on padded rows, or on one row at a time."""

Row = Sequence[int] | np.ndarray
"""The token ids of one sequence, [length]."""


def padded_tokens(path: str, token_budget: int, model: Any) -> int:
    """The largest number of padded tokens in a batch.

    ``plain`` needs all logits of a batch at once, so its batches may be smaller. ``single`` uses one row.
    """
    if path == FAST:
        return token_budget
    limit = max(4 * MAX_LOGITS // model_loading.embedding_rows(model), 1)
    return min(token_budget, limit) if path == PLAIN else 1


def own_logits(model: Any, rows: Sequence[Row]) -> Tensor:
    """The logits [rows, longest, vocabulary] of the model's own forward pass on rows of token ids.

    Several rows are padded on the right and have an attention mask. A single row has no mask.
    """
    return model(**_inputs(model, rows)).logits


def head_inputs(model: Any, rows: Sequence[Row]) -> Tensor:
    """The inputs of the output head in the model's own forward pass, [rows, longest, width].

    They are the last hidden states after the final norm. If the model does not call its head as a module, the
    last of its ``hidden_states`` are returned.
    """
    captured: list[Tensor] = []
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, inputs: captured.append(inputs[0])) if head else None
    try:
        output = model(**_inputs(model, rows), output_hidden_states=True)
    finally:
        if hook is not None:
            hook.remove()
    return captured[-1] if captured else output.hidden_states[-1]


def padded(rows: Sequence[Row]) -> Tensor:
    """The token ids, int64 [rows, longest], padded with zeros on the right."""
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.as_tensor(np.asarray(row, dtype=np.int64))
    return ids


def _inputs(model: Any, rows: Sequence[Row]) -> dict[str, Any]:
    """The arguments of the model's forward pass on rows of token ids."""
    lengths = torch.tensor([len(row) for row in rows])
    ids = padded(rows)
    inputs: dict[str, Any] = {"input_ids": ids.to(model.device), "use_cache": False}
    if len(rows) > 1:
        mask = torch.arange(ids.shape[1]) < lengths[:, None]
        inputs["attention_mask"] = mask.long().to(model.device)
    return inputs


def log_prob_chunks(logits: Tensor, row: Tensor, position: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Log-probabilities in nats at N positions of ``logits`` [rows, longest, vocabulary], in chunks.

    ``row`` and ``position``, int64 [N], are the indices of the positions. Yields slices of 0 … N−1 with their
    log-probabilities [chunk, vocabulary], which are float32, or float64 if the logits are.
    """
    step = max(1, MAX_LOGITS // logits.shape[-1])
    for first in range(0, len(row), step):
        part = slice(first, min(first + step, len(row)))
        chunk = logits[row[part].to(logits.device), position[part].to(logits.device)]
        yield (
            part,
            chunk.float().log_softmax(-1) if chunk.dtype != torch.float64 else chunk.log_softmax(-1),
        )
