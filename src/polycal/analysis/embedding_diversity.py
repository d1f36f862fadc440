"""How diverse prompt embeddings are, and whether languages that lose diversity lose calibration.

The paper explains over-confidence after tuning by a loss of diversity: the smallest singular value of the
covariance of prompt embeddings falls (arXiv 2601.01362, not tested there). Functions take embeddings [N, D];
``measure`` writes the tables of a study.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from polycal.analysis import measure as statistics
from polycal.analysis.contrasts import BASE, UNSMOOTHED
from polycal.analysis.score_arrays import CELL, cell_of
from polycal.artifacts import records
from polycal.artifacts.manifests import Stamp
from polycal.errors import PolycalError
from polycal.metrics.arrays import Array

TABLES = ("diversity", "spectra", "subsamples", "diversity_links")
SUBSETS, SMALLEST = 8, 16
"""Random subsets of each size, and the least size, of the sub-sampling curves."""
MEASURES = ("log_smallest", "log_relative", "effective_rank", "log_trace", "anisotropy")
SERIES = CELL[:-1]


class DiversityError(PolycalError):
    """Embeddings that cannot be compared; the message names the file."""


def spectrum(x: Array) -> Array:
    """Eigenvalues of the covariance of the rows of ``x`` [N, D], falling, [D]; zero beyond the rank, at most N − 1.

    As a covariance is symmetric and not negative, they are also its singular values.
    """
    centred = x - x.mean(0)
    gram = centred @ centred.T if len(x) <= x.shape[1] else centred.T @ centred
    found = np.maximum(np.linalg.eigvalsh(gram)[::-1], 0.0) / max(len(x) - 1, 1)
    found = found[: min(len(x) - 1, x.shape[1])]
    return np.pad(found, (0, x.shape[1] - len(found)))


def shrinkage(x: Array) -> float:
    """Share δ, in [0, 1], by which the covariance S is drawn to (tr S / D) I (Ledoit & Wolf 2004, lemma 3.2 ff.).

    (1 − δ) S + δ (tr S / D) I has the least expected squared error; its eigenvalues follow from those of S.
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
    """exp of the entropy of the eigenvalues' shares, in [1, D] (Roy & Vetterli 2007, on the covariance)."""
    share = values[values > 0] / values.sum()
    return float(np.exp(-(share * np.log(share)).sum())) if len(share) else float("nan")


def anisotropy(x: Array) -> float:
    """Mean cosine of two different rows, in [−1, 1] (Ethayarajh 2019, arXiv 1909.00512); NaN for a single row."""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    total = np.divide(x, length, out=np.zeros_like(x), where=length > 0).sum(0)
    n = len(x)
    return float((total @ total - n) / (n * (n - 1))) if n > 1 else float("nan")


def describe(x: Array) -> dict[str, float]:
    """Every measure of one set of embeddings.

    smallest_singular_value is that of the covariance as it stands, zero where N ≤ D: with few prompts it says
    more of N than of the model; smallest_shrunk is that after Ledoit and Wolf's shrinkage.
    """
    values = spectrum(x)
    drawn = shrinkage(x)
    shrunk = (1 - drawn) * values + drawn * values.mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "n": len(x),
            "width": x.shape[1],
            "smallest_singular_value": float(values[-1]),
            "shrinkage": drawn,
            "smallest_shrunk": float(shrunk[-1]),
            "effective_rank": effective_rank(values),
            "trace": float(values.sum()),
            "condition": float(np.divide(values[0], values[-1])),
            "condition_shrunk": float(np.divide(shrunk[0], shrunk[-1])),
            "anisotropy": anisotropy(x),
        }


def subsamples(x: Array, seed: int) -> list[dict[str, float]]:
    """Means over random subsets of n = N, N/2, N/4 … rows: how a measure depends on the number of prompts."""
    rng, rows, n = np.random.default_rng(seed), [], len(x)
    while n >= min(SMALLEST, len(x)):
        repeats = 1 if n == len(x) else SUBSETS
        found = pd.DataFrame([describe(x[rng.permutation(len(x))[:n]]) for _ in range(repeats)])
        kept = found[["smallest_singular_value", "smallest_shrunk", "effective_rank", "trace"]].mean()
        rows.append({"n": n, **{str(name): float(value) for name, value in kept.items()}})
        n //= 2
    return rows


def measure(
    files: Sequence[Path], measured: Path, *, settings: Mapping[str, Any], out: Path, stamp: Stamp
) -> None:
    """Write diversity, spectra, subsamples and diversity_links into ``out``.

    ``files`` are Embedding records, ``measured`` the study's cells.parquet. ``settings``: draws, seed. Raises
    DiversityError where a cell has no ECE, or two checkpoints of a model embed different questions of a language.
    """
    rows, curves, spectra = [], [], []
    asked: dict[tuple[str, ...], tuple[Path, list[str]]] = {}
    for path in sorted(files):
        cell = {name: str(cell_of(path)[name]) for name in CELL}
        ids, x = read(path)
        side = (cell["model"], cell["benchmark"], cell["protocol"], cell["language"])
        first, known = asked.setdefault(side, (path, ids))
        if known != ids:
            raise DiversityError(
                f"{first} and {path} embed different questions; make both from the same ones."
            )
        rows.append({**cell, **describe(x)})
        values = spectrum(x)
        spectra.append({**cell, "eigenvalues": values.tolist()})
        curves += [{**cell, **row} for row in subsamples(x, settings["seed"])]
    table = pd.DataFrame(rows)
    tables = {
        "diversity": table,
        "spectra": pd.DataFrame(spectra),
        "subsamples": pd.DataFrame(curves),
        "diversity_links": pd.DataFrame(links(with_ece(table, measured), settings), columns=LINK_COLUMNS),
    }
    closed = stamp()
    for name, found in tables.items():
        statistics.write(found, out / f"{name}.parquet", {**closed, "table": name})


def read(path: Path) -> tuple[list[str], Array]:
    """Question ids and embeddings of one record, [N, D]. Raises RecordError."""
    table = records.read_embeddings(path)
    flat = table["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return table["question_id"].to_pylist(), flat.astype(np.float64).reshape(table.num_rows, -1)


def with_ece(table: pd.DataFrame, measured: Path) -> pd.DataFrame:
    """The diversity of each cell with its ECE and the MEASURES that are compared."""
    ece = pq.ParquetFile(measured).read(columns=[*CELL, "ece"]).to_pandas()
    found = table.merge(ece, on=list(CELL), how="left")
    if found.ece.isna().any():
        lost = found[found.ece.isna()].iloc[0]
        raise DiversityError(
            f"{measured}: holds no ECE of {lost.model}, {lost.benchmark}, {lost.protocol}, {lost.language}; embed"
            " only what the study scores."
        )
    with np.errstate(divide="ignore"):
        return found.assign(
            log_smallest=np.log(found.smallest_shrunk),
            log_relative=np.log(found.smallest_shrunk / (found.trace / found.width)),
            log_trace=np.log(found.trace),
        )


LINK_COLUMNS = (
    "contrast",
    *SERIES,
    "measure",
    "languages",
    *(name + end for name in ("change", "pearson", "spearman") for end in ("", "_low", "_high")),
)


def links(found: pd.DataFrame, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Change of each measure, and its correlation over languages with the change of ECE; one row a contrast.

    Contrasts: tuned_minus_base and smoothed_minus_unsmoothed. Rows of model ``all`` take every series together,
    each centred over its languages. Intervals resample languages, the same for all series: few languages, wide
    intervals. The paper's account asks for a negative correlation of log_smallest.
    """
    series = {
        tuple(map(str, names)): part.set_index("language") for names, part in found.groupby(list(SERIES))
    }
    pairs: dict[str, list[tuple[tuple[str, ...], pd.DataFrame]]] = {}
    for names, part in series.items():
        cell = dict(zip(SERIES, names, strict=True))
        if cell["data"] == "none":
            continue
        for contrast, change in (("tuned_minus_base", BASE), ("smoothed_minus_unsmoothed", UNSMOOTHED)):
            other = tuple({**cell, **change}.values())
            if other in series and other != names:
                columns = [*MEASURES, "ece"]
                shared = part.index.intersection(series[other].index)
                pairs.setdefault(contrast, []).append(
                    (names, part.loc[shared, columns] - series[other].loc[shared, columns])
                )
    rows = []
    for contrast, members in pairs.items():
        for names, moved in members:
            rows += _linked(contrast, names, [moved], settings)
        for place in sorted({names[-2:] for names, _ in members}):
            mine = [moved for names, moved in members if names[-2:] == place]
            rows += _linked(contrast, ("all",) * 5 + place, mine, settings)
    return rows


def _linked(
    contrast: str, names: tuple[str, ...], changes: Sequence[pd.DataFrame], settings: Mapping[str, Any]
) -> list[dict[str, Any]]:
    shared = sorted(set.intersection(*(set(change.index) for change in changes)))
    count = len(shared)
    pick = np.random.default_rng([settings["seed"], count]).integers(0, count, (settings["bootstrap_samples"], count))
    stacked = {
        name: np.stack([change.loc[shared, name] for change in changes]) for name in (*MEASURES, "ece")
    }
    rows = []
    for measure in MEASURES:
        x, y = stacked[measure], stacked["ece"]
        row = {
            "contrast": contrast,
            **dict(zip(SERIES, names, strict=True)),
            "measure": measure,
            "languages": count,
        }
        row |= _bounded("change", float(x.mean()), x[:, pick].mean((0, 2)))
        for name, kind in (("pearson", _same), ("spearman", _ranks)):
            estimate = float(correlation(kind(x)[:, None], kind(y)[:, None])[0])
            row |= _bounded(name, estimate, correlation(kind(x[:, pick]), kind(y[:, pick])))
        rows.append(row)
    return rows


def correlation(x: Array, y: Array) -> Array:
    """Pearson's r of [S, R, L] over series and languages, each series centred, [R]; NaN where one is constant."""
    x, y = x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True)
    over = np.sqrt((x * x).sum((0, 2)) * (y * y).sum((0, 2)))
    return np.divide((x * y).sum((0, 2)), over, out=np.full(len(over), np.nan), where=over > 1e-300)


def _same(values: Array) -> Array:
    return values


def _ranks(values: Array) -> Array:
    """Ranks over the last axis, equal values by their mean rank."""
    below = (values[..., None, :] < values[..., :, None]).sum(-1)
    equal = (values[..., None, :] == values[..., :, None]).sum(-1)
    return below + (equal + 1) / 2


def _bounded(name: str, estimate: float, drawn: Array) -> dict[str, float]:
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (np.nan, np.nan)
    return {name: estimate, f"{name}_low": float(low), f"{name}_high": float(high)}


def content(measured: Path) -> str:
    """Checksum of what ``measure`` reads of the study's cells, whoever measured them when."""
    return records.checksum(pq.ParquetFile(measured).read(columns=[*CELL, "ece"]))
