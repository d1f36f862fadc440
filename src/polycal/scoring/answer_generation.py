"""Generate answers with transformers: one greedy and several sampled ones for each prompt, in batches.

A batch is padded on the left. The prompts of a batch are read once for all their answers: their keys and values are
computed first, and then repeated for each answer.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache, GenerationConfig, LogitsProcessorList

from polycal.scoring.plain_forward import FAST, SINGLE, Row
from polycal.scoring.token_choice import TokenChoice


@dataclass(frozen=True)
class Sampling:
    """How tokens are sampled: temperature and nucleus (top_p), as ``TokenChoice`` defines them."""

    temperature: float = 1.0
    top_p: float = 1.0


@dataclass(frozen=True)
class GeneratedTokens:
    """The tokens of A answers to each of B prompts, with values of ``TokenChoice``; each array is [B, A, steps].

    After the end of an answer, tokens and values mean nothing.
    """

    tokens: NDArray[np.int64]
    logprob: NDArray[np.float32]
    near_tie: NDArray[np.bool_]


@torch.inference_mode()
def generate(
    model: Any,
    prompts: Sequence[Row],
    uniform: NDArray[np.float64],
    ends: Sequence[int],
    padding: int,
    sampling: Sampling = Sampling(),
    path: str = FAST,
    forced: NDArray[np.int64] | None = None,
) -> GeneratedTokens:
    """Generate ``uniform.shape[1]`` answers of up to ``uniform.shape[2]`` tokens to each of B prompts.

    ``uniform`` [B, A, steps] contains the numbers of ``token_choice.uniform_numbers``. An answer ends after a
    token of ``ends``. ``padding`` is any token id. ``path`` is ``fast`` (the prompts are read once for all their
    answers), ``plain`` (once for each answer) or ``single`` (one answer at a time, without a cache). ``forced``
    [B, A, steps] gives the tokens, so that only their log-probabilities are computed; ``ends`` must then be empty.
    """
    if path == SINGLE and uniform.shape[:2] != (1, 1):
        return _one_by_one(model, prompts, uniform, ends, padding, sampling, forced)
    count, answers, steps = uniform.shape
    ids, mask = left_padded(prompts, padding)
    ids, mask = ids.to(model.device), mask.to(model.device)
    shares = path == FAST and answers > 1 and ids.shape[1] > 1
    cache = _prompt_cache(model, ids, mask, answers) if shares else None
    choice = TokenChoice(
        uniform.reshape(-1, steps),
        sampling.temperature,
        sampling.top_p,
        None if forced is None else torch.from_numpy(forced).reshape(-1, steps),
    )
    configuration = GenerationConfig(
        do_sample=False,
        max_new_tokens=steps,
        eos_token_id=list(ends) or None,
        pad_token_id=padding,
        use_cache=path != SINGLE,
    )
    with _own_settings(model):
        output = model.generate(
            ids.repeat_interleave(answers, 0),
            attention_mask=mask.repeat_interleave(answers, 0),
            generation_config=configuration,
            logits_processor=LogitsProcessorList([choice]),
            **({} if cache is None else {"past_key_values": cache}),
        )
    tokens = output[:, ids.shape[1] :].cpu()
    return GeneratedTokens(
        *(
            _filled(values, steps, fill).reshape(count, answers, steps)
            for values, fill in ((tokens, padding), (choice.logprob, 0.0), (choice.near_tie, False))
        )
    )


def _one_by_one(
    model: Any,
    prompts: Sequence[Row],
    uniform: NDArray[np.float64],
    ends: Sequence[int],
    padding: int,
    sampling: Sampling,
    forced: NDArray[np.int64] | None,
) -> GeneratedTokens:
    """``generate`` with each answer in a batch of its own."""
    count, answers, steps = uniform.shape
    parts = [
        generate(
            model,
            [prompts[row]],
            uniform[row : row + 1, answer : answer + 1],
            ends,
            padding,
            sampling,
            SINGLE,
            None if forced is None else forced[row : row + 1, answer : answer + 1],
        )
        for row in range(count)
        for answer in range(answers)
    ]
    shape = (count, answers, steps)
    return GeneratedTokens(
        np.concatenate([part.tokens for part in parts]).reshape(shape),
        np.concatenate([part.logprob for part in parts]).reshape(shape),
        np.concatenate([part.near_tie for part in parts]).reshape(shape),
    )


def left_padded(rows: Sequence[Row], padding: int) -> tuple[Tensor, Tensor]:
    """The token ids padded on the left, and the mask of those that are not padding, each int64 [rows, longest]."""
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), padding, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        ids[number, longest - len(row) :] = torch.as_tensor(np.asarray(row, dtype=np.int64))
        mask[number, longest - len(row) :] = 1
    return ids, mask


def _prompt_cache(model: Any, ids: Tensor, mask: Tensor, answers: int) -> DynamicCache:
    """The keys and values of all prompt tokens but the last one, repeated for each answer."""
    cache = DynamicCache(config=model.config)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    model(
        input_ids=ids[:, :-1],
        attention_mask=mask[:, :-1],
        position_ids=positions[:, :-1],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    cache.batch_repeat_interleave(answers)
    return cache


@contextmanager
def _own_settings(model: Any) -> Iterator[None]:
    """Leave out the settings of generation that a model was saved with, such as a penalty on repetitions."""
    saved, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = saved


def _filled(values: Tensor, steps: int, fill: Any) -> NDArray:
    """``values`` [rows, made] as [rows, steps]. Generation stops when all answers have ended."""
    found = np.full((len(values), steps), fill, dtype=values.numpy().dtype)
    found[:, : values.shape[1]] = values.numpy()
    return found
