"""The plain path: the model's own forward pass on rows of tokens, and its logits as transformers returns them.

Nothing is assumed about the model except that it predicts each token from those before it. ``self_check``
compares the fast path with this one, and a run whose model the fast path does not reproduce takes it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polycal.data import model_loading
from polycal.scoring.output_head import MAX_LOGITS

FAST, PLAIN, SINGLE = "fast", "plain", "single"
"""Ways through a model: polycal's own passes; the model's forward on padded rows; and on one row at a time."""

Row = Sequence[int] | np.ndarray


def padded_tokens(path: str, token_budget: int, model: Any) -> int:
    """Most padded tokens of a batch, of which ``path`` needs all logits at once; ``single`` takes one row."""
    if path == FAST:
        return token_budget
    most = max(4 * MAX_LOGITS // model_loading.embedding_rows(model), 1)
    return min(token_budget, most) if path == PLAIN else 1


def own_logits(model: Any, rows: Sequence[Row]) -> Tensor:
    """Logits [rows, longest, vocabulary] of the model's own forward pass on rows of token ids.

    Rows are padded on the right under an attention mask; a row alone is passed without a mask.
    """
    return model(**_inputs(model, rows)).logits


def head_inputs(model: Any, rows: Sequence[Row]) -> Tensor:
    """What the output head reads in the model's own forward pass, [rows, longest, width].

    That is the last hidden state, after the final norm. A model whose head is not called as a module gives
    the last of its ``hidden_states``.
    """
    seen: list[Tensor] = []
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])) if head else None
    try:
        output = model(**_inputs(model, rows), output_hidden_states=True)
    finally:
        if hook is not None:
            hook.remove()
    return seen[-1] if seen else output.hidden_states[-1]


def padded(rows: Sequence[Row]) -> Tensor:
    """Token ids int64 [rows, longest], filled up with zeros on the right."""
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.as_tensor(np.asarray(row, dtype=np.int64))
    return ids


def _inputs(model: Any, rows: Sequence[Row]) -> dict[str, Any]:
    lengths = torch.tensor([len(row) for row in rows])
    ids = padded(rows)
    inputs: dict[str, Any] = {"input_ids": ids.to(model.device), "use_cache": False}
    if len(rows) > 1:
        mask = torch.arange(ids.shape[1]) < lengths[:, None]
        inputs["attention_mask"] = mask.long().to(model.device)
    return inputs


def log_prob_chunks(logits: Tensor, row: Tensor, position: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Natural log-probabilities float32 [chunk, vocabulary] at N places of logits [rows, longest, vocabulary].

    ``row`` and ``position``, int64 [N], name the places; slices of them come with the values.
    """
    step = max(1, MAX_LOGITS // logits.shape[-1])
    for first in range(0, len(row), step):
        part = slice(first, min(first + step, len(row)))
        chosen = logits[row[part].to(logits.device), position[part].to(logits.device)]
        yield (
            part,
            chosen.float().log_softmax(-1) if chosen.dtype != torch.float64 else chosen.log_softmax(-1),
        )
