"""The output head: from hidden states to log-probabilities over the vocabulary, a chunk at a time."""

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from polycal.scoring.models import seconds_since

MAX_LOGITS = 2**24
"""Logits in memory at once: rows times vocabulary."""


def log_prob_chunks(
    model: Any, hidden: Tensor, max_logits: int = MAX_LOGITS
) -> Iterator[tuple[slice, Tensor, float]]:
    """Log-probabilities for consecutive rows of ``hidden``, [N, width].

    Yields (rows, natural log-probabilities float32 [rows, vocabulary], seconds in the head). The log-softmax
    is taken in float32, after the soft-cap ``c · tanh(x / c)`` if the model has one (Gemma 2, arXiv
    2408.00118).
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
