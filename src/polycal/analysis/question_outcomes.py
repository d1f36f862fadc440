"""Values per question, whose means are metrics: confidence, correct, entropy, Brier score, log-loss."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polycal.metrics.arrays import Array


@dataclass(frozen=True)
class QuestionOutcomes:
    """Values per question under one normalisation, each [N]; entropy and nll are in nats.

    Next tokens have the same fields, with one entry per token.
    """

    confidence: Array
    correct: Array
    entropy: Array
    entropy_normalised: Array
    brier: Array
    nll: Array
    ties: int
    """Number of questions with several most probable candidates; the first of them counts as chosen."""

    def columns(self) -> list[Array]:
        """The six arrays whose means are metrics: correct, confidence, both entropies, brier, nll."""
        return [
            self.correct,
            self.confidence,
            self.entropy,
            self.entropy_normalised,
            self.brier,
            self.nll,
        ]


def outcomes(log_p: Array, gold: NDArray[np.int64], options: NDArray[np.int64]) -> QuestionOutcomes:
    """Values per question from log-probabilities ``log_p`` [N, K].

    ``gold`` [N] is the index of the right option, and ``options`` [N] is the number of options. Logarithms
    are used throughout, so that small probabilities do not underflow.
    """
    p = np.exp(log_p)
    row = np.arange(len(gold))
    top = log_p.max(1)
    entropy = -np.einsum("nk,nk->n", p, np.maximum(log_p, -1e4))  # 0 · log 0 is 0
    return QuestionOutcomes(
        confidence=np.exp(top),
        correct=(log_p.argmax(1) == gold).astype(np.float64),
        entropy=entropy,
        entropy_normalised=entropy / np.log(options),
        brier=np.einsum("nk,nk->n", p, p) - 2 * p[row, gold] + 1,
        nll=-log_p[row, gold],
        ties=int(((log_p == top[:, None]).sum(1) > 1).sum()),
    )
