"""The self-check of candidate scoring, on a few prompts of the run."""

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
"""Padded tokens per batch of the check if the run sets no budget. All probes must always fit one batch."""


@dataclass(frozen=True)
class Probe:
    """A prompt of the check, with every prefix of each of its candidates.

    ``prefixes`` contains, for each candidate, the candidate cut after its first token, after its second, and
    so on. The log-likelihoods of consecutive prefixes differ by the log-probability of one token. ``lengths``
    contains the number of tokens of each candidate, and ``examples`` the few-shot examples of the prompt.
    """

    prefixes: list[Candidate]
    lengths: list[int]
    examples: str

    def trees(self, branching: bool) -> list[Tree]:
        """The prefixes as one tree of tokens, or as ordinary sequences if not ``branching``."""
        return (
            [token_trees.build_tree(self.prefixes)] if branching else token_trees.linear_trees(self.prefixes)
        )

    def token_values(self, scores: Mapping[tuple[int, int], float]) -> list[np.ndarray]:
        """The log-probabilities of the tokens of each candidate, from the log-likelihoods of the prefixes."""
        sums = [scores[prefix.question, prefix.option] for prefix in self.prefixes]
        return [np.diff(part, prepend=0.0) for part in np.split(sums, np.cumsum(self.lengths)[:-1])]


def check(
    model: Any, tokenizer: Any, prompts_of_files: Sequence[Sequence[Prompt]], token_budget: int | None = None
) -> SelfCheck:
    """Choose the path for scoring the candidates of all prompts (``self_check.choose_path``).

    The probes are the shortest prompt, the longest one, and another one with the few-shot examples of the
    longest. The fast path processes each of them alone, all in one batch, and all after their shared prefix.
    Raises SelfCheckError if the model's own forward pass gives no usable numbers, and ScoringError if no
    probe fits the model's window or can be tokenized.
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
            # The second row makes this a padded batch.
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
    """Scores of the fast path: each probe alone, all in one batch, and all after the prefix that they share."""
    branching = tree_forward.supports_trees(model)
    trees_with_examples = [(probe.examples, tree) for probe in probes for tree in probe.trees(branching)]
    trees = [tree for _, tree in trees_with_examples]
    runs = [[(NO_PREFIX, [tree]) for tree in trees]]
    if len(trees) > 1:
        runs.append([(NO_PREFIX, trees)])
        groups = list(token_trees.group_by_prefix(trees_with_examples)) if branching else []
        if any(len(prefix) for prefix, _ in groups):
            runs.append(groups)
    return [
        {
            key: score
            for prefix, group in run
            for key, score in score_trees(model, prefix, group, budget)[0].items()
        }
        for run in runs
    ]


def _probes(tokenizer: Any, prompts_of_files: Sequence[Sequence[Prompt]], window: int) -> list[Probe]:
    """The probes of the check. Raises ScoringError if none of them can be tokenized."""
    prompts = [prompt for file in prompts_of_files for prompt in file]
    lengths = [len(prompt.prefix.encode()) for prompt in prompts]
    groups = ["".join(prompt.examples) for prompt in prompts]
    probes: list[Probe] = []
    for number in self_check.pick(lengths, groups):
        try:
            (tokenized,) = candidates.tokenize_prompts(tokenizer, [prompts[number]], window)
        except ScoringError:
            continue  # The run raises this error with the number of the question in its file.
        # The reference reads the prompt once for each candidate, so only a few candidates are used.
        few = tokenized.candidates[: 2 if probes else 4]
        probes.append(_probe(len(probes), few, tokenized.examples))
    if not probes:
        # Raise the error with the number of the question in its file.
        for file in prompts_of_files:
            list(candidates.tokenize_prompts(tokenizer, file, window))
    return probes


def _probe(question: int, question_candidates: Sequence[Candidate], examples: str) -> Probe:
    """The probe with every prefix of each candidate of a question."""
    prefixes = [
        candidate.tokens[:length]
        for candidate in question_candidates
        for length in range(candidate.start + 1, len(candidate.tokens) + 1)
    ]
    lengths = [len(candidate.tokens) - candidate.start for candidate in question_candidates]
    start = question_candidates[0].start
    return Probe(
        [Candidate(question, option, tokens, start) for option, tokens in enumerate(prefixes)],
        lengths,
        examples,
    )
