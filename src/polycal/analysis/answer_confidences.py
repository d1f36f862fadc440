"""Measures of confidence in a generated answer, from what is in its record, without a model.

All are confidences in the greedy answer. Samples form clusters: two are in one cluster if they are equal after
normalisation (``answer_texts``). If an entailment model has clustered them by meaning (stage ``cluster``), there are
two more measures from these clusters. The accepted answers have no influence on either.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from polycal.data import answer_texts
from polycal.metrics.arrays import Array

CLUSTER_SHARE, GREEDY_SHARE, ENTROPY = "cluster_share", "greedy_share", "entropy"
LIKELIHOOD, P_TRUE = "likelihood", "p_true"
MEANING_SHARE, MEANING_ENTROPY = "meaning_share", "meaning_entropy"
MEASURES = (CLUSTER_SHARE, GREEDY_SHARE, ENTROPY, MEANING_SHARE, MEANING_ENTROPY, LIKELIHOOD, P_TRUE)
"""MEANING_SHARE and MEANING_ENTROPY exist only in studies with an entailment model."""


@dataclass(frozen=True)
class AnsweredQuestions:
    """The greedy answers of one record to N questions.

    ``correct`` [N] is 1 for an answer that matches an accepted one, else 0. ``confidence`` contains those of MEASURES
    that are known, [N] in [0, 1]. ``entropy`` [N] is the discrete semantic entropy in nats.
    """

    question_id: list[str]
    correct: Array
    confidence: Mapping[str, Array]
    entropy: Array


def read(table: pa.Table, language: str, meanings: pa.Table | None = None) -> AnsweredQuestions:
    """The answers in a table of the schema ``open_records.GENERATION``, whose language is ``language``.

    ``meanings`` are their clusters by meaning, of the schema ``cluster_records.CLUSTER``, for the same questions.

    - ``cluster_share``: max_c n_c / n, for n samples of which n_c are in cluster c (the label probability of Tian et
      al. 2023, arXiv 2305.14975).
    - ``greedy_share``: the share of the samples in the cluster of the greedy answer.
    - ``entropy``: exp(−H) for the discrete semantic entropy H = −Σ_c (n_c / n) log (n_c / n) of Farquhar et al. 2024
      (Nature 630, 625–630). It is 1/m for m equally large clusters.
    - ``likelihood``: exp((1/T) Σ_t log p_t) over the T tokens of the greedy answer, the geometric mean of their
      probabilities (length-normalised likelihood, Malinin & Gales 2021, arXiv 2002.07650).
    - ``meaning_share``, ``meaning_entropy``: as ``greedy_share`` and ``entropy``, from ``meanings``; only with them.
    - ``p_true``: P(True) of the greedy answer (Kadavath et al. 2022, arXiv 2207.05221).
    """
    rows = table.to_pylist()
    counts = [clusters(row["samples"], language) for row in rows]
    entropy = np.array([semantic_entropy(list(count.values())) for count in counts])
    greedy = [answer_texts.normalised(row["greedy"], language) for row in rows]
    logprob = np.array([row["greedy_logprob"] / row["greedy_tokens"] for row in rows])
    confidence = {
        **({} if meanings is None else _of_meanings(meanings.to_pylist())),
        CLUSTER_SHARE: np.array([max(count.values()) / count.total() for count in counts]),
        GREEDY_SHARE: np.array(
            [count[text] / count.total() for count, text in zip(counts, greedy, strict=True)]
        ),
        ENTROPY: np.exp(-entropy),
        LIKELIHOOD: np.minimum(np.exp(logprob), 1.0),
        P_TRUE: np.array([row["p_true"] for row in rows], dtype=np.float64),
    }
    correct = [float(answer_texts.matches(row["greedy"], row["answers"], language)) for row in rows]
    return AnsweredQuestions([row["question_id"] for row in rows], np.array(correct), confidence, entropy)


def _of_meanings(rows: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
    """The measures of clusters by meaning, [N] each."""
    counts = [Counter(row["samples"]) for row in rows]
    shares = [count[row["greedy"]] / count.total() for row, count in zip(rows, counts, strict=True)]
    entropy = np.array([semantic_entropy(list(count.values())) for count in counts])
    return {MEANING_SHARE: np.array(shares), MEANING_ENTROPY: np.exp(-entropy)}


def clusters(samples: Sequence[str], language: str) -> Counter[str]:
    """The number of samples in each cluster, by the normalised text. Empty answers are one cluster."""
    return Counter(answer_texts.normalised(text, language) for text in samples)


def semantic_entropy(counts: Sequence[int]) -> float:
    """The discrete semantic entropy in nats of clusters with these numbers of samples, in [0, log n]."""
    share = np.array(counts, dtype=np.float64) / sum(counts)
    return float(-(share * np.log(share)).sum()) + 0.0  # −0.0 becomes 0.0


def counted(table: pa.Table) -> dict[str, Any]:
    """Numbers of questions in a table: whose greedy answer is empty, cut by the length or has nearly equal tokens.

    ``samples`` is the number of samples of each question, and ``empty_samples`` and ``cut_samples`` are shares of all
    samples.
    """
    cut = np.array(table["sample_cut"].to_pylist(), dtype=np.float64)
    texts = table["samples"].to_pylist()
    return {
        "samples": cut.shape[1],
        "empty": sum(not text for text in table["greedy"].to_pylist()),
        "cut": int(sum(table["greedy_cut"].to_pylist())),
        "near_ties": sum(count > 0 for count in table["near_ties"].to_pylist()),
        "empty_samples": float(np.mean([[not text for text in row] for row in texts])),
        "cut_samples": float(cut.mean()),
    }
