"""The diversity of a set of embeddings: measures of the spectrum of their covariance, and their mean cosine.

Embeddings are [N, D], one row per prompt.
"""

import numpy as np
import pandas as pd

from polycal.metrics.arrays import Array

SUBSETS, SMALLEST = 8, 16
"""Of sub-sampling curves: the number of random subsets per size, and the smallest size."""


def spectrum(x: Array) -> Array:
    """Eigenvalues of the covariance of the rows of ``x`` [N, D], in descending order, [D].

    At most N − 1 of them are above zero. A covariance is symmetric and positive semi-definite, so its
    eigenvalues equal its singular values.
    """
    centred = x - x.mean(0)
    gram = centred @ centred.T if len(x) <= x.shape[1] else centred.T @ centred
    values = np.maximum(np.linalg.eigvalsh(gram)[::-1], 0.0) / max(len(x) - 1, 1)
    values = values[: min(len(x) - 1, x.shape[1])]
    return np.pad(values, (0, x.shape[1] - len(values)))


def shrinkage(x: Array) -> float:
    """The weight δ in [0, 1] with which the covariance S is shrunk towards (tr S / D) I.

    δ minimises the expected squared error of (1 − δ) S + δ (tr S / D) I (Ledoit & Wolf 2004, lemma 3.2 ff.).
    The eigenvalues of this matrix follow from those of S.
    """
    n, width = x.shape
    centred = x - x.mean(0)
    values = spectrum(x) * (n - 1) / n
    mean, square = values.mean(), float(values @ values)
    distance = square / width - mean**2
    # Σ_k ‖x_k x_kᵀ − S‖² = Σ_k ‖x_k‖⁴ − n ‖S‖²
    fourth = float((np.einsum("nd,nd->n", centred, centred) ** 2).sum())
    error = (fourth - n * square) / (n * n * width)
    return float(np.clip(error / distance, 0.0, 1.0)) if distance > 0 else 1.0


def effective_rank(values: Array) -> float:
    """exp of the entropy of the normalised eigenvalues ``values`` [D], in [1, D]; NaN if all are zero.

    Source: Roy & Vetterli 2007, applied to the covariance.
    """
    share = values[values > 0] / values.sum()
    return float(np.exp(-(share * np.log(share)).sum())) if len(share) else float("nan")


def anisotropy(x: Array) -> float:
    """Mean cosine of two different rows, in [−1, 1]; NaN for a single row.

    Source: Ethayarajh 2019, arXiv 1909.00512.
    """
    length = np.linalg.norm(x, axis=1, keepdims=True)
    total = np.divide(x, length, out=np.zeros_like(x), where=length > 0).sum(0)
    n = len(x)
    return float((total @ total - n) / (n * (n - 1))) if n > 1 else float("nan")


def describe(x: Array) -> dict[str, float]:
    """Every measure of one set of embeddings ``x`` [N, D].

    smallest_singular_value is that of the covariance without shrinkage. It is zero if N ≤ D, and with few
    prompts it depends more on N than on the model. smallest_shrunk is the value after Ledoit and Wolf's
    shrinkage.
    """
    values = spectrum(x)
    share = shrinkage(x)
    shrunk = (1 - share) * values + share * values.mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "n": len(x),
            "width": x.shape[1],
            "smallest_singular_value": float(values[-1]),
            "shrinkage": share,
            "smallest_shrunk": float(shrunk[-1]),
            "effective_rank": effective_rank(values),
            "trace": float(values.sum()),
            "condition_number": float(np.divide(values[0], values[-1])),
            "condition_number_shrunk": float(np.divide(shrunk[0], shrunk[-1])),
            "anisotropy": anisotropy(x),
        }


def subsample_curve(x: Array, seed: int) -> list[dict[str, float]]:
    """Mean measures over random subsets of n = N, N/2, N/4 … rows, down to SMALLEST.

    They show how a measure depends on the number of prompts.
    """
    rng, rows, n = np.random.default_rng(seed), [], len(x)
    while n >= min(SMALLEST, len(x)):
        repeats = 1 if n == len(x) else SUBSETS
        subsets = pd.DataFrame([describe(x[rng.permutation(len(x))[:n]]) for _ in range(repeats)])
        means = subsets[["smallest_singular_value", "smallest_shrunk", "effective_rank", "trace"]].mean()
        rows.append({"n": n, **{str(name): float(value) for name, value in means.items()}})
        n //= 2
    return rows
