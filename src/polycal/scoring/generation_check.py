"""The self-check of generation: which path gives the log-probabilities of the model's own forward pass."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from polycal.scoring import answer_generation, plain_forward, self_check
from polycal.scoring.plain_forward import FAST, PLAIN, SINGLE, Row
from polycal.scoring.self_check import SelfCheck

STEPS = 8
"""Tokens that are generated for each prompt of the check."""


def check(model: Any, prompts: Sequence[Row], padding: int) -> SelfCheck:
    """Choose the path for generating answers to ``prompts`` (``self_check.choose_path``).

    The shortest, the longest and a third prompt are continued with STEPS tokens. The log-probabilities of these
    tokens, generated with a cache and in a padded batch with two answers for each prompt, are compared with those of
    one forward pass over prompt and tokens. Raises SelfCheckError if the model gives no usable numbers.
    """
    chosen = self_check.pick([len(row) for row in prompts], [""] * len(prompts))
    probes = [np.asarray(prompts[number], dtype=np.int64) for number in chosen]
    greedy = np.full((len(probes), 1, STEPS), np.nan)
    rows: list[NDArray[np.int64]] = []
    found: list[NDArray[np.int64]] = []

    def alone() -> NDArray[np.float64]:
        found.append(answer_generation.generate(model, probes, greedy, (), padding, path=SINGLE).tokens)
        rows.extend(
            np.concatenate([probe, tokens]) for probe, tokens in zip(probes, found[0][:, 0], strict=True)
        )
        return np.concatenate([_values(model, [row])[0] for row in rows])

    def again() -> NDArray[np.float64]:
        # The second row makes this a padded batch.
        return np.concatenate([_values(model, [row, row[: len(row) // 2 + 1]])[0] for row in rows])

    def generated(path: str) -> list[NDArray[np.float64]]:
        tokens = found[0].repeat(2, axis=1)
        numbers = np.full(tokens.shape, np.nan)
        made = answer_generation.generate(model, probes, numbers, (), padding, path=path, forced=tokens)
        return [made.logprob[:, answer].reshape(-1).astype(np.float64) for answer in range(2)]

    paths = {path: lambda path=path: generated(path) for path in (FAST, PLAIN)}
    longest = max(probes, key=len)
    return self_check.choose_path(model, alone, again, paths, longest, len(probes))


@torch.inference_mode()
def _values(model: Any, rows: Sequence[Row]) -> list[NDArray[np.float64]]:
    """The log-probabilities of the last STEPS tokens of each row, from one forward pass."""
    logits = plain_forward.own_logits(model, rows)
    values = []
    for number, row in enumerate(rows):
        log_p = logits[number, : len(row) - 1].double().log_softmax(-1)
        actual = torch.as_tensor(np.asarray(row[1:]), device=log_p.device)
        values.append(log_p.gather(1, actual[:, None])[-STEPS:, 0].cpu().numpy())
    return values
