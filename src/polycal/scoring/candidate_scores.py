"""Log-likelihoods of all candidates of many prompts.

The model reads each prompt once for all its candidates, and shared few-shot examples once for all their
questions. Batches are sorted by length under a token budget. The batch changes a result by rounding only.
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

    ``logprob``: natural log-likelihoods, summed over the candidate's tokens; ``tokens``: their numbers of
    tokens. ``prompts_cut``: prompts that lost few-shot examples; ``equal_candidates``: prompts with two
    candidates of the same tokens; ``unknown_candidates``: prompts with a candidate in which the tokenizer has put
    its unknown token for something that it cannot read. ``timing``: tokens processed, seconds, rates and peak memory.
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

    ``token_budget`` is the number of padded tokens per batch; None chooses one. ``name`` starts the progress
    line; without it none is printed. ``path`` is the way through the model that ``candidate_check`` found to
    be exact. Raises ScoringError if a prompt does not fit the window or a candidate is empty.
    """
    start, cpu_start = time.perf_counter(), time.process_time()
    branching = path == FAST and tree_forward.supports_trees(model)
    trees: list[tuple[str, Tree]] = []
    tokens: list[list[int]] = []
    prompts_cut = equal_candidates = unknown_candidates = 0
    unknown = tokenizer.unk_token_id
    for prompt in candidates.tokenize_prompts(tokenizer, prompts, models.context_window(model)):
        own = prompt.candidates
        prompts_cut += prompt.was_cut
        unknown_candidates += any(unknown in candidate.tokens[candidate.start :] for candidate in own)
        equal_candidates += len({tuple(candidate.tokens) for candidate in own}) < len(own)
        tokens.append([len(candidate.tokens) - candidate.start for candidate in own])
        grown = [token_trees.build_tree(own)] if branching else token_trees.linear_trees(own)
        trees += [(prompt.examples, tree) for tree in grown]
    # A model without tree masks cannot continue a cached prefix either.
    alone = [(token_trees.NO_PREFIX, [tree for _, tree in trees])]
    work = list(token_trees.group_by_prefix(trees)) if branching else alone
    progress = ProgressLine(name, sum(len(prefix) + sum(map(len, members)) for prefix, members in work))
    budget = token_budget or _default_budget(model, any(len(prefix) for prefix, _ in work))
    budget = plain_forward.padded_tokens(path, budget, model)
    logprob: dict[tuple[int, int], float] = {}
    forward_seconds = 0.0
    for prefix, members in work:
        scores, seconds, budget = score_trees(model, prefix, members, budget, progress, path)
        logprob |= scores
        forward_seconds += seconds
    elapsed, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    return CandidateScores(
        [[logprob[number, option] for option in range(len(row))] for number, row in enumerate(tokens)],
        tokens,
        prompts_cut,
        equal_candidates,
        unknown_candidates,
        {
            "tokens": progress.total,
            "token_budget": budget,
            "seconds": round(elapsed, 3),
            "cpu_seconds": round(cpu_seconds, 3),
            "questions_per_second": round(len(prompts) / elapsed, 3),
            "tokens_per_second": round(progress.total / elapsed, 1),
            # share of the time in the model: layers at each token, head where a prediction is read
            "forward_fraction": round(forward_seconds / elapsed, 4),
            **_peak_memory(),
        },
    )


def score_trees(
    model: Any,
    prefix: np.ndarray,
    trees: Sequence[Tree],
    budget: int,
    progress: Callable[[int], None] = lambda tokens: None,
    path: str = FAST,
) -> tuple[dict[tuple[int, int], float], float, int]:
    """Log-likelihoods by (question, option) of trees that follow ``prefix``, int64 [length].

    Also returns the seconds in the model and the budget, which is halved whenever memory runs out. Raises the
    out-of-memory error if one tree alone does not fit.
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
    """Padded tokens per batch: on a CPU what stays near its caches, on a GPU a power of two that fits its
    memory.

    With a shared prefix twice as many on a CPU: the keys and values of the prefix are then read half as
    often.
    """
    if model.device.type != "cuda":
        return 1024 if shares_prefix else 512
    config = model.config.get_text_config()
    # a token's activations in one layer (attention, gated feed-forward); twice that is reserved
    width = 8 * config.hidden_size + 3 * (
        getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    )
    free = torch.cuda.mem_get_info(model.device)[0] - 4 * 4 * MAX_LOGITS
    tokens = max(free // (2 * width * model.dtype.itemsize), 1)
    return int(min(2**16, 2 ** (int(tokens).bit_length() - 1)))


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _peak_memory() -> dict[str, int]:
    """Peak bytes of this process in main memory and, if there are GPUs, on all of them together."""
    peak = {"peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    if torch.cuda.is_available():
        devices = range(torch.cuda.device_count())
        peak["peak_device_memory_bytes"] = sum(map(torch.cuda.max_memory_allocated, devices))
    return peak
