"""Log-likelihoods of all candidates of many prompts.

The model reads a prompt once for all its candidates, and shared few-shot examples once for all their
questions. Prompts are sorted by length and batched with a limited number of tokens. The batch of a prompt
changes its results only by rounding.
"""

import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from polycal.data.token_ids import Encoder
from polycal.progress import ProgressLine
from polycal.scoring import candidates, log_likelihoods, models, plain_forward, token_trees, tree_forward
from polycal.scoring.batching import batches
from polycal.scoring.follow_up_scores import FollowUps
from polycal.scoring.follow_ups import FollowUp
from polycal.scoring.output_head import MAX_LOGITS
from polycal.scoring.plain_forward import FAST
from polycal.scoring.prefix_cache import PrefixCache
from polycal.scoring.prompts import Prompt
from polycal.scoring.token_trees import Tree
from polycal.scoring.tree_attention import KeptStates


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
    - ``follow_ups``: for each prompt the chosen option, and the log-likelihood of each answer to the follow-up in
      nats. Empty without a follow-up.
    """

    logprob: list[list[float]]
    tokens: list[list[int]]
    prompts_cut: int
    equal_candidates: int
    unknown_candidates: int
    timing: dict[str, Any]
    follow_ups: list[tuple[int, list[float]]] = field(default_factory=list)


def score_candidates(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    token_budget: int | None = None,
    name: str = "",
    path: str = FAST,
    follow_up: FollowUp | None = None,
) -> CandidateScores:
    """Score every candidate of every prompt, and the answers to ``follow_up`` after the chosen candidate.

    ``token_budget`` is the number of padded tokens per batch. None chooses it by the device. ``name`` is the
    beginning of the progress line; if it is empty, none is printed. ``path`` is the path through the model
    that ``candidate_check`` chose. Raises ScoringError if a prompt, with its follow-up, does not fit the window
    or a candidate is empty.
    """
    start, cpu_start = time.perf_counter(), time.process_time()
    branching = path == FAST and tree_forward.supports_trees(model)
    trees: list[tuple[str, Tree]] = []
    tokens: list[list[int]] = []
    prompts_cut = equal_candidates = unknown_candidates = 0
    unknown = tokenizer.unk_token_id
    later = FollowUps(follow_up, Encoder(tokenizer), prompts) if follow_up is not None else None
    window = models.context_window(model) - (later.longest if later else 0)
    for prompt in candidates.tokenize_prompts(tokenizer, prompts, window):
        options = prompt.candidates
        prompts_cut += prompt.was_cut
        unknown_candidates += any(unknown in candidate.tokens[candidate.start :] for candidate in options)
        equal_candidates += len({tuple(candidate.tokens) for candidate in options}) < len(options)
        tokens.append([len(candidate.tokens) - candidate.start for candidate in options])
        built = [token_trees.build_tree(options)] if branching else token_trees.linear_trees(options)
        trees += [(prompt.examples, tree) for tree in built]
        if later:
            later.add(prompt)
    groups = _groups(trees, branching)
    progress = ProgressLine(name, _tokens(groups))
    budget = token_budget or _default_budget(model, any(len(prefix) for prefix, _ in groups))
    budget = plain_forward.padded_tokens(path, budget, model)
    logprob, forward_seconds, budget = _score_groups(model, groups, budget, progress, path, later)
    if later:
        forward_seconds += _score_remaining(model, later, logprob, branching, budget, path)
    total = progress.total + (later.tokens if later else 0)
    return CandidateScores(
        [[logprob[number, option] for option in range(len(row))] for number, row in enumerate(tokens)],
        tokens,
        prompts_cut,
        equal_candidates,
        unknown_candidates,
        {
            "tokens": total,
            "token_budget": budget,
            "cpu_seconds": round(time.process_time() - cpu_start, 3),
            **_rates(len(prompts), total, forward_seconds, time.perf_counter() - start),
            **_peak_memory(),
        },
        later.results(logprob) if later else [],
    )


def _score_remaining(
    model: Any,
    later: FollowUps,
    logprob: Mapping[tuple[int, int], float],
    branching: bool,
    budget: int,
    path: str,
) -> float:
    """Score the follow-ups that continue no batch, after the options with ``logprob``. Returns the seconds in the model."""
    groups = _groups(later.remaining(logprob, branching), branching)
    found, seconds, _ = _score_groups(model, groups, budget, lambda tokens: None, path)
    later.logprob |= found
    later.tokens += _tokens(groups)
    return seconds


Groups = Sequence[tuple[np.ndarray, Sequence[Tree]]]
"""The tokens of a prefix, int64 [length], with the trees that follow it."""


def _groups(trees: Sequence[tuple[str, Tree]], branching: bool) -> Groups:
    """The trees by their shared prefix. A model that does not support trees cannot continue a cached prefix either."""
    if branching:
        return list(token_trees.group_by_prefix(trees))
    return [(token_trees.NO_PREFIX, [tree for _, tree in trees])]


def _tokens(groups: Groups) -> int:
    return sum(len(prefix) + sum(map(len, members)) for prefix, members in groups)


def _score_groups(
    model: Any,
    groups: Groups,
    budget: int,
    progress: Callable[[int], None],
    path: str,
    later: FollowUps | None = None,
) -> tuple[dict[tuple[int, int], float], float, int]:
    """The results of ``score_trees`` for all groups, with the sum of the seconds and the last budget."""
    logprob: dict[tuple[int, int], float] = {}
    seconds = 0.0
    for prefix, members in groups:
        scores, more, budget = score_trees(model, prefix, members, budget, progress, path, later)
        logprob |= scores
        seconds += more
    return logprob, seconds, budget


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
    later: FollowUps | None = None,
) -> tuple[dict[tuple[int, int], float], float, int]:
    """Log-likelihoods in nats, by (question, option), of trees after the tokens ``prefix``, int64 [length].

    The follow-ups ``later`` are scored after each batch that can be continued. The second result is the number of
    seconds in the model. The third is the token budget, which is halved each time that memory runs out. Raises the
    out-of-memory error if a single tree does not fit.
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
                if path != FAST:
                    scores, seconds = log_likelihoods.own_log_likelihoods(model, batch)
                elif later is not None and tree_forward.prefers_packed(model, batch):
                    states = KeptStates()
                    scores, seconds = log_likelihoods.log_likelihoods(model, batch, cache, states)
                    seconds += later.continue_batch(model, batch, (prefix, cache), scores, states)
                else:
                    scores, seconds = log_likelihoods.log_likelihoods(model, batch, cache)
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
