"""Before candidates are scored: a few prompts of the run by the fast path against the model's own forward."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from polycal.scoring import (
    candidates,
    log_likelihoods,
    models,
    plain_forward,
    self_check,
    token_trees,
    tree_forward,
)
from polycal.scoring.candidate_scores import score_trees
from polycal.scoring.candidates import Candidate, ScoringError
from polycal.scoring.plain_forward import FAST, PLAIN, SINGLE
from polycal.scoring.prompts import Prompt
from polycal.scoring.self_check import SelfCheck
from polycal.scoring.token_trees import NO_PREFIX, Tree

TOKEN_BUDGET = 512
"""Padded tokens per batch of the check, if the run has none of its own; a batch holds all probes at least."""


@dataclass(frozen=True)
class Probe:
    """A prompt of the check, with the cumulative beginnings of its candidates.

    Each beginning ends with one more token of a candidate, so that the log-likelihoods of consecutive ones
    differ by the log-probability of one token. ``own`` are the numbers of tokens of the candidates.
    """

    steps: list[Candidate]
    own: list[int]
    examples: str

    def trees(self, branching: bool) -> list[Tree]:
        """The beginnings as trees of tokens; ordinary sequences without ``branching``."""
        return [token_trees.build_tree(self.steps)] if branching else token_trees.linear_trees(self.steps)

    def token_values(self, scores: Mapping[tuple[int, int], float]) -> list[np.ndarray]:
        """Log-probability of each token of each candidate."""
        sums = [scores[step.question, step.option] for step in self.steps]
        return [np.diff(part, prepend=0.0) for part in np.split(sums, np.cumsum(self.own)[:-1])]


def check(
    model: Any, tokenizer: Any, prompts_of_files: Sequence[Sequence[Prompt]], token_budget: int | None = None
) -> SelfCheck:
    """Which way through the model gives its own numbers for the given prompts of each file.

    Probes are the shortest and the longest prompt and one that has few-shot examples in common with the
    longest. They run alone, in one batch, and after their shared prefix. Raises SelfCheckError if the model's
    own forward pass gives no usable numbers, or ScoringError if no probe fits its window.
    """
    if not any(prompts_of_files):
        return self_check.NOTHING
    probes = _probes(tokenizer, prompts_of_files, models.context_window(model))
    rows = [tree for probe in probes for tree in probe.trees(branching=False)]
    budget = max(token_budget or TOKEN_BUDGET, len(rows) * max(map(len, rows)))
    plain_budget = plain_forward.padded_tokens(PLAIN, budget, model)

    def values(scores: Mapping[tuple[int, int], float]) -> np.ndarray:
        return np.concatenate([row for probe in probes for row in probe.token_values(scores)])

    def again() -> np.ndarray:
        scores: dict[tuple[int, int], float] = {}
        for row in rows:
            # the second row makes it a padded batch
            shorter = replace(row, tokens=row.tokens[: max(len(row) - 1, 1)], reads=())
            scores |= log_likelihoods.own_log_likelihoods(model, [row, shorter])[0]
        return values(scores)

    return self_check.choose_path(
        model,
        lambda: values(score_trees(model, NO_PREFIX, rows, 1, path=SINGLE)[0]),
        again,
        {
            FAST: lambda: [values(scores) for scores in _fast(model, probes, budget)],
            PLAIN: lambda: [values(score_trees(model, NO_PREFIX, rows, plain_budget, path=PLAIN)[0])],
        },
        causal_row=max(probes[0].trees(branching=False), key=len).tokens,
        prompts=len(probes),
    )


def _fast(model: Any, probes: Sequence[Probe], budget: int) -> list[dict[tuple[int, int], float]]:
    """Scores of the fast path: each probe alone, all in one batch, and after the prefix that they share."""
    branching = tree_forward.supports_trees(model)
    trees = [(probe.examples, tree) for probe in probes for tree in probe.trees(branching)]
    members = [tree for _, tree in trees]
    runs = [[(NO_PREFIX, [tree]) for tree in members]]
    if len(members) > 1:
        runs.append([(NO_PREFIX, members)])
        shared = list(token_trees.group_by_prefix(trees)) if branching else []
        if any(len(prefix) for prefix, _ in shared):
            runs.append(shared)
    return [
        {key: score for prefix, group in run for key, score in _scores(model, prefix, group, budget).items()}
        for run in runs
    ]


def _scores(
    model: Any, prefix: np.ndarray, trees: Sequence[Tree], budget: int
) -> dict[tuple[int, int], float]:
    return score_trees(model, prefix, trees, budget)[0]


def _probes(tokenizer: Any, prompts_of_files: Sequence[Sequence[Prompt]], window: int) -> list[Probe]:
    prompts = [prompt for file in prompts_of_files for prompt in file]
    lengths = [len(prompt.prefix.encode()) for prompt in prompts]
    groups = ["".join(prompt.examples) for prompt in prompts]
    probes: list[Probe] = []
    for number in self_check.pick(lengths, groups):
        try:
            (tokenized,) = candidates.tokenize_prompts(tokenizer, [prompts[number]], window)
        except ScoringError:
            continue  # the run names the question by its number in its file
        # few candidates of a long prompt, because the reference reads the prompt once for each
        chosen = tokenized.candidates[: 2 if probes else 4]
        probes.append(_probe(len(probes), chosen, tokenized.examples))
    if not probes:
        for file in prompts_of_files:
            list(candidates.tokenize_prompts(tokenizer, file, window))
    return probes


def _probe(question: int, chosen: Sequence[Candidate], examples: str) -> Probe:
    steps = [
        candidate.tokens[:length]
        for candidate in chosen
        for length in range(candidate.start + 1, len(candidate.tokens) + 1)
    ]
    own = [len(candidate.tokens) - candidate.start for candidate in chosen]
    start = chosen[0].start
    return Probe(
        [Candidate(question, option, tokens, start) for option, tokens in enumerate(steps)], own, examples
    )
