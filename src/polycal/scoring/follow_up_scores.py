"""Log-likelihoods of the answers to follow-ups, after the options that were chosen in the same run.

On a CPU the follow-ups of a batch continue its trees: the keys and values of the questions are still there, so
only the tokens after the chosen option are new. Where that is not possible, the question is read again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from polycal.data.token_ids import Encoder
from polycal.scoring import log_likelihoods, token_trees, tree_forward
from polycal.scoring.candidates import Candidate, TokenizedPrompt
from polycal.scoring.follow_ups import FollowUp
from polycal.scoring.prefix_cache import PrefixCache
from polycal.scoring.prompts import Prompt
from polycal.scoring.text_ends import TextEnds
from polycal.scoring.token_trees import Tree
from polycal.scoring.tree_attention import KeptStates

Scores = Mapping[tuple[int, int], float]
"""Log-likelihoods in nats by (question, option)."""


class FollowUps:
    """The follow-ups of the prompts of one run.

    ``logprob`` has the log-likelihoods that are known so far, by (question, answer). ``tokens`` is the number of
    tokens that were read for them, and ``longest`` the most that can follow an option.
    """

    def __init__(self, follow_up: FollowUp, encode: Encoder, prompts: Sequence[Prompt]) -> None:
        self.follow_up = follow_up
        self.logprob: dict[tuple[int, int], float] = {}
        self.tokens, self.longest = 0, follow_up.longest(encode)
        self._tokenize = TextEnds(encode)
        self._prompts = prompts
        self._first: list[np.ndarray] = []
        self._examples: list[str] = []
        self._lengths: list[list[int]] = []

    def add(self, prompt: TokenizedPrompt) -> None:
        """Note the few-shot examples, the first option and the lengths of all options of the next prompt."""
        self._first.append(np.array(prompt.candidates[0].tokens, np.int32))
        self._examples.append(prompt.examples)
        self._lengths.append([len(candidate.tokens) - candidate.start for candidate in prompt.candidates])

    def chosen(self, number: int, scores: Scores) -> int:
        """The chosen option of a question, whose options all have ``scores``."""
        lengths = self._lengths[number]
        logprob = [scores[number, option] for option in range(len(lengths))]
        return self.follow_up.choose(logprob, lengths, self._prompts[number].candidates)

    def _candidates(self, number: int, scores: Scores) -> list[Candidate]:
        option = self.chosen(number, scores)
        return self.follow_up.candidates(
            self._tokenize,
            self._prompts[number],
            self._examples[number],
            self._first[number],
            (number, option),
        )

    def continue_batch(
        self,
        model: Any,
        batch: Sequence[Tree],
        prefix: tuple[np.ndarray, PrefixCache | None],
        scores: Scores,
        states: KeptStates,
    ) -> float:
        """Score the follow-ups of a batch after its trees. Returns the seconds in the model.

        ``prefix`` are the tokens and the cache that the batch follows, and ``states`` those of its nodes. The
        follow-ups that cannot continue the batch remain for ``remaining``.
        """
        offset, trees, paths = 0, [], []
        for tree in batch:
            later = token_trees.build_tree(self._candidates(tree.reads[0].question, scores))
            if path := token_trees.shared_path(prefix[0], tree, later):
                trees.append(later.drop_prefix(len(prefix[0]) + len(path)))
                paths.append([offset + node for node in path])
            offset += len(tree)
        if not trees or not tree_forward.prefers_packed(model, trees):
            return 0.0
        found, seconds = log_likelihoods.continued_log_likelihoods(model, trees, prefix[1], states, paths)
        self.logprob |= found
        self.tokens += sum(map(len, trees))
        return seconds

    def remaining(self, scores: Scores, branching: bool) -> list[tuple[str, Tree]]:
        """The trees of the follow-ups that have no log-likelihoods yet, each with its few-shot examples."""
        found: list[tuple[str, Tree]] = []
        for number, examples in enumerate(self._examples):
            if (number, 0) not in self.logprob:
                asked = self._candidates(number, scores)
                built = [token_trees.build_tree(asked)] if branching else token_trees.linear_trees(asked)
                found += [(examples, tree) for tree in built]
        return found

    def results(self, scores: Scores) -> list[tuple[int, list[float]]]:
        """The chosen option of each question, and the log-likelihoods of the answers in nats."""
        answers = sum(len(texts) for _, texts in self.follow_up.asked)
        return [
            (self.chosen(number, scores), [self.logprob[number, answer] for answer in range(answers)])
            for number in range(len(self._examples))
        ]
