"""Log-probabilities over the vocabulary from hidden states, computed in chunks."""

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from polycal.scoring.models import seconds_since

MAX_LOGITS = 2**24
"""Largest number of logits in a chunk: rows times vocabulary."""


def log_prob_chunks(
    model: Any, hidden: Tensor, max_logits: int = MAX_LOGITS
) -> Iterator[tuple[slice, Tensor, float]]:
    """Log-probabilities for chunks of consecutive rows of ``hidden`` [N, width].

    Yields the rows, their log-probabilities in nats, float32 [rows, vocabulary], and the seconds that the
    head needed. If the model has a soft-cap c, the logits x become c · tanh(x / c) (Gemma 2, arXiv
    2408.00118). The log-softmax is computed in float32.
    """
    head, softcap = model.get_output_embeddings(), getattr(model.config, "final_logit_softcapping", None)
    step = max(1, max_logits // head.weight.shape[0])
    for first in range(0, len(hidden), step):
        rows = slice(first, min(first + step, len(hidden)))
        start = time.perf_counter()
        logits = head(hidden[rows])
        seconds = seconds_since(start, logits)
        if softcap is not None:
            logits = torch.tanh(logits / softcap) * softcap
        yield rows, logits.float().log_softmax(-1), seconds
