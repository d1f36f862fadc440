"""Log-likelihoods of all candidates of many prompts.

The model reads a prompt once for all its candidates, and shared few-shot examples once for all their
questions. Prompts are sorted by length and batched with a limited number of tokens. The batch of a prompt
changes its results only by rounding.
"""

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from polycal.progress import ProgressLine
from polycal.scoring import candidates, log_likelihoods, models, plain_forward, token_trees, tree_forward
from polycal.scoring.batching import batches
from polycal.scoring.output_head import MAX_LOGITS
from polycal.scoring.plain_forward import FAST
from polycal.scoring.prefix_cache import PrefixCache
from polycal.scoring.prompts import Prompt
from polycal.scoring.token_trees import Tree


@dataclass(frozen=True)
class CandidateScores:
    """Scores of the candidates of each prompt, in the order of the prompts and of their options.

    - ``logprob``: the log-likelihood of each candidate in nats, summed over its tokens.
    - ``tokens``: the number of tokens of each candidate.
    - ``prompts_cut``: the number of prompts that lost few-shot examples.
    - ``equal_candidates``: the number of prompts with two candidates of the same tokens.
    - ``unknown_candidates``: the number of prompts with a candidate that contains the tokenizer's unknown
      token.
    - ``timing``: processed tokens, seconds, rates and peak memory.
    """

    logprob: list[list[float]]
    tokens: list[list[int]]
    prompts_cut: int
    equal_candidates: int
    unknown_candidates: int
    timing: dict[str, Any]


def score_candidates(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    token_budget: int | None = None,
    name: str = "",
    path: str = FAST,
) -> CandidateScores:
    """Score every candidate of every prompt.

    ``token_budget`` is the number of padded tokens per batch. None chooses it by the device. ``name`` is the
    beginning of the progress line; if it is empty, none is printed. ``path`` is the path through the model
    that ``candidate_check`` chose. Raises ScoringError if a prompt does not fit the window or a candidate is
    empty.
    """
    start, cpu_start = time.perf_counter(), time.process_time()
    branching = path == FAST and tree_forward.supports_trees(model)
    trees: list[tuple[str, Tree]] = []
    tokens: list[list[int]] = []
    prompts_cut = equal_candidates = unknown_candidates = 0
    unknown = tokenizer.unk_token_id
    for prompt in candidates.tokenize_prompts(tokenizer, prompts, models.context_window(model)):
        options = prompt.candidates
        prompts_cut += prompt.was_cut
        unknown_candidates += any(unknown in candidate.tokens[candidate.start :] for candidate in options)
        equal_candidates += len({tuple(candidate.tokens) for candidate in options}) < len(options)
        tokens.append([len(candidate.tokens) - candidate.start for candidate in options])
        built = [token_trees.build_tree(options)] if branching else token_trees.linear_trees(options)
        trees += [(prompt.examples, tree) for tree in built]
    # A model that does not support trees cannot continue a cached prefix either.
    ungrouped = [(token_trees.NO_PREFIX, [tree for _, tree in trees])]
    groups = list(token_trees.group_by_prefix(trees)) if branching else ungrouped
    progress = ProgressLine(name, sum(len(prefix) + sum(map(len, members)) for prefix, members in groups))
    budget = token_budget or _default_budget(model, any(len(prefix) for prefix, _ in groups))
    budget = plain_forward.padded_tokens(path, budget, model)
    logprob: dict[tuple[int, int], float] = {}
    forward_seconds = 0.0
    for prefix, members in groups:
        scores, seconds, budget = score_trees(model, prefix, members, budget, progress, path)
        logprob |= scores
        forward_seconds += seconds
    return CandidateScores(
        [[logprob[number, option] for option in range(len(row))] for number, row in enumerate(tokens)],
        tokens,
        prompts_cut,
        equal_candidates,
        unknown_candidates,
        {
            "tokens": progress.total,
            "token_budget": budget,
            "cpu_seconds": round(time.process_time() - cpu_start, 3),
            **_rates(len(prompts), progress.total, forward_seconds, time.perf_counter() - start),
            **_peak_memory(),
        },
    )


def _rates(questions: int, tokens: int, forward_seconds: float, seconds: float) -> dict[str, float]:
    """The seconds of a run, its rates, and the share of the time in the model."""
    return {
        "seconds": round(seconds, 3),
        "questions_per_second": round(questions / seconds, 3),
        "tokens_per_second": round(tokens / seconds, 1),
        # The time in the model is that of its layers at each token, and of its head where a prediction is read.
        "forward_fraction": round(forward_seconds / seconds, 4),
    }


def score_trees(
    model: Any,
    prefix: np.ndarray,
    trees: Sequence[Tree],
    budget: int,
    progress: Callable[[int], None] = lambda tokens: None,
    path: str = FAST,
) -> tuple[dict[tuple[int, int], float], float, int]:
    """Log-likelihoods in nats, by (question, option), of trees after the tokens ``prefix``, int64 [length].

    The second result is the number of seconds in the model. The third is the token budget, which is halved
    each time that memory runs out. Raises the out-of-memory error if a single tree does not fit.
    """
    result: dict[tuple[int, int], float] = {}
    remaining = list(trees)
    start = time.perf_counter()
    cache = PrefixCache(model, prefix) if len(prefix) else None
    forward_seconds = time.perf_counter() - start
    progress(len(prefix))
    while remaining:
        try:
            for rows in batches([len(tree) for tree in remaining], budget):
                batch = [remaining[row] for row in rows]
                if path == FAST:
                    scores, seconds = log_likelihoods.log_likelihoods(model, batch, cache)
                else:
                    scores, seconds = log_likelihoods.own_log_likelihoods(model, batch)
                result |= scores
                forward_seconds += seconds
                progress(sum(map(len, batch)))
        except RuntimeError as error:
            if not _out_of_memory(error) or budget <= max(map(len, remaining)):
                raise
            budget //= 2
            torch.cuda.empty_cache()
        remaining = [
            tree for tree in remaining if (tree.reads[0].question, tree.reads[0].option) not in result
        ]
    return result, forward_seconds, budget


def _default_budget(model: Any, shares_prefix: bool) -> int:
    """The number of padded tokens per batch.

    On a CPU the activations of a batch should fit the caches. With a shared prefix a batch is twice as large,
    so that the keys and values of the prefix are read half as often. On a GPU it is the largest power of two,
    at most 65,536, whose activations fit the free memory.
    """
    if model.device.type != "cuda":
        return 1024 if shares_prefix else 512
    config = model.config.get_text_config()
    # The activations of a token in one layer (attention, gated feed-forward). Twice as much memory is
    # reserved.
    width = 8 * config.hidden_size + 3 * (
        getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    )
    free = torch.cuda.mem_get_info(model.device)[0] - 4 * 4 * MAX_LOGITS
    tokens = max(free // (2 * width * model.dtype.itemsize), 1)
    return int(min(2**16, 2 ** (int(tokens).bit_length() - 1)))


def _out_of_memory(error: RuntimeError) -> bool:
    """Whether the GPU's or the main memory is full."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _peak_memory() -> dict[str, int]:
    """The peak memory of this process in bytes: main memory and, if there are GPUs, their total."""
    peak = {"peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    if torch.cuda.is_available():
        devices = range(torch.cuda.device_count())
        peak["peak_device_memory_bytes"] = sum(map(torch.cuda.max_memory_allocated, devices))
    return peak
