"""Choose the next token of many answers in transformers' ``generate``: the most likely one, or a sampled one.

A sampled token follows from one uniform number by inverting the cumulated probabilities, in the order of the
vocabulary. The numbers depend on the seed, the question and the number of the sample alone, so an answer does not
depend on the other answers of its batch, except where rounding moves a bound across a number.
"""

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import LogitsProcessor, TopPLogitsWarper

NEAR_TIE = 1e-4
"""Difference of two logits below which rounding can change which one is larger."""


class TokenChoice(LogitsProcessor):
    """Leaves one token possible in each row: the chosen one. After ``generate``, it has what was chosen.

    ``uniform`` [rows, steps], float64 in [0, 1), determines the tokens of sampled rows. A row of NaN is greedy.
    Tokens of sampled rows come from the distribution at ``temperature``, restricted to the most likely ones with a
    probability of at least ``top_p`` together. ``forced`` [rows, steps] replaces the choice where it is given.

    - ``logprob``: the log-probability in nats of each chosen token, at temperature 1 and over the whole vocabulary,
      float32 [rows, steps].
    - ``near_tie``: whether the two largest logits differ by less than NEAR_TIE, bool [rows, steps].
    """

    def __init__(
        self,
        uniform: NDArray[np.float64],
        temperature: float = 1.0,
        top_p: float = 1.0,
        forced: Tensor | None = None,
    ) -> None:
        self.uniform, self.temperature, self.forced = torch.from_numpy(uniform), temperature, forced
        self.sampled = (~torch.isnan(self.uniform[:, 0])).nonzero()[:, 0]
        self.restrict = TopPLogitsWarper(top_p) if top_p < 1 else None
        self._logprob: list[Tensor] = []
        self._near_tie: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores in which all tokens but the chosen one of each row are impossible, [rows, vocabulary]."""
        step = len(self._logprob)
        top = scores.topk(2, dim=-1)
        chosen = top.indices[:, 0].clone()
        sampled = self.sampled.to(scores.device)
        if len(sampled):
            chosen[sampled] = self._sample(input_ids[sampled], scores[sampled], step)
        if self.forced is not None:
            chosen = self.forced[:, step].to(scores.device)
        column = chosen[:, None]
        self._logprob.append((scores.gather(1, column)[:, 0] - scores.logsumexp(-1)).float().cpu())
        self._near_tie.append((top.values[:, 0] - top.values[:, 1] < NEAR_TIE).cpu())
        return torch.full_like(scores, -torch.inf).scatter_(1, column, 0.0)

    def _sample(self, input_ids: Tensor, scores: Tensor, step: int) -> Tensor:
        scores = scores / self.temperature
        if self.restrict is not None:
            scores = self.restrict(input_ids, scores)
        cumulated = scores.double().softmax(-1).cumsum(-1)
        level = self.uniform[self.sampled, step].to(scores.device)[:, None] * cumulated[:, -1:]
        # The first token whose cumulated probability is above the level, so one with a probability above zero.
        return torch.searchsorted(cumulated, level, right=True)[:, 0]

    @property
    def logprob(self) -> Tensor:
        """See the class."""
        return torch.stack(self._logprob, dim=1)

    @property
    def near_tie(self) -> Tensor:
        """See the class."""
        return torch.stack(self._near_tie, dim=1)


def uniform_numbers(seed: int, question_id: str, samples: int, steps: int) -> NDArray[np.float64]:
    """The numbers of the greedy answer and of ``samples`` sampled ones of a question, [1 + samples, steps].

    Those of the greedy answer are NaN. The others depend on the arguments alone, and those of a sample not on the
    number of samples or steps. All models and languages have the same numbers, so their differences are paired.
    """
    numbers = np.full((1 + samples, steps), np.nan)
    for sample in range(samples):
        digest = hashlib.sha256(f"{seed}/{sample}/{question_id}".encode()).digest()
        numbers[1 + sample] = np.random.Generator(np.random.PCG64(int.from_bytes(digest))).random(steps)
    return numbers
