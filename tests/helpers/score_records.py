"""Score records of a small invented study, for which the true probabilities are known."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from polycal.artifacts import records

LANGUAGES = {"en": "high", "de": "high", "hi": "mid", "yo": "low"}
SHARPNESS = {"none": 1.0, "0": 2.5, "0.1": 1.8}

SETTINGS: dict[str, Any] = {
    "bins": 15,
    "binning": "width",
    "normalise": {"letters": "sum", "texts": "token"},
    "bootstrap_samples": 200,
    "seed": 0,
    "resource": LANGUAGES,
    "sensitivity": {"bins": [10, 15], "binning": ["width", "mass"], "normalise": ["sum", "token", "byte"]},
}


def cell(beta: str = "none", language: str = "en", **other: Any) -> dict[str, Any]:
    """The cell of a score record: of the base model if ``beta`` is none, else of the model tuned on Alpaca."""
    tuned = beta != "none"
    return {
        "stage": "score",
        "model": "llama",
        "base_seed": "none",
        "data": "alpaca" if tuned else "none",
        "recipe": "paper" if tuned else "none",
        "beta": beta,
        "seed": "42" if tuned else "none",
        "benchmark": "mmlu-prox",
        "protocol": "texts-0shot",
        "language": language,
        "settings": {"candidates": "texts"},
        **other,
    }


def score_row(name: str, logprob: list[float], gold: int, **other: Any) -> dict[str, Any]:
    """A row of a score record. By default, each option has one token and four bytes."""
    return {
        "question_id": name,
        "group": "g",
        "gold": gold,
        "option_logprob": logprob,
        "option_tokens": [1] * len(logprob),
        "option_bytes": [4] * len(logprob),
        "prompt_sha256": "x",
        **other,
    }


def write(path: Path, cell: dict[str, Any], rows: list[dict[str, Any]]) -> Path:
    records.write(path, rows, records.SCORE, {"cell": cell})
    return path


def study(
    folder: Path,
    n: int = 150,
    seeds: tuple[str, ...] = ("42",),
    languages: tuple[str, ...] = tuple(LANGUAGES),
) -> list[Path]:
    """Write the score records of a base and of tuned models for each language. Returns their paths.

    ``n`` is the number of questions. Tuning without smoothing makes predictions sharper than the true probabilities;
    tuning with β = 0.1 makes them less sharp than that.
    """
    shared = np.random.default_rng(0)
    options = shared.integers(3, 6, n)
    truth = [shared.normal(0, 1.5, count) for count in options]
    gold = [int((score + shared.gumbel(size=len(score))).argmax()) for score in truth]
    files = []
    for beta, sharpness in SHARPNESS.items():
        for seed in seeds if beta != "none" else ("none",):
            for language in languages:
                rng = np.random.default_rng(zlib.crc32(f"{beta} {seed} {language}".encode()))
                rows = []
                for place, score in enumerate(truth):
                    tokens = rng.integers(1, 4, len(score))
                    found = sharpness * (score + 0.5 * rng.normal(size=len(score))) - 4
                    rows.append(
                        score_row(
                            f"q{place}",
                            (found * tokens).tolist(),
                            gold[place],
                            option_tokens=tokens.tolist(),
                            option_bytes=(3 * tokens + 1).tolist(),
                        )
                    )
                path = folder / f"{beta}_{seed}_{language}.parquet"
                files.append(write(path, cell(beta, language, seed=seed), rows))
    return files


def runs(
    folder: Path,
    models: tuple[str, ...] = ("small", "large"),
    languages: tuple[str, ...] = ("de", "en", "gsw"),
    n: int = 60,
    groups: tuple[str, ...] = ("art", "law"),
    **other: Any,
) -> list[Path]:
    """Write records of untuned models on the same questions, as ``polycal import`` does. Returns their paths.

    Each model is twice as sharp as the one before it. ``groups`` take turns. ``other`` replaces keys of the
    cell.
    """
    shared = np.random.default_rng(0)
    truth = shared.normal(0, 1.5, (n, 4))
    gold = (truth + shared.gumbel(size=truth.shape)).argmax(1)
    files = []
    for place, model in enumerate(models):
        for language in languages:
            noise = np.random.default_rng(zlib.crc32(f"{model} {language}".encode())).normal(size=(n, 4))
            found = 2**place * (truth + 0.3 * noise) - 4
            rows = [
                score_row(
                    f"q{number}",
                    found[number].tolist(),
                    int(gold[number]),
                    group=groups[number % len(groups)],
                )
                for number in range(n)
            ]
            named = cell(language=language, model=model, settings={"candidates": "letters"}, **other)
            files.append(write(folder / model / f"{language}.parquet", named, rows))
    return files


def write_truth(folder: Path, n: int = 150) -> dict[str, str]:
    """Write the true probabilities of ``study``, one file per language in ``folder``.

    Returns benchmark → folder.
    """
    shared = np.random.default_rng(0)
    options = shared.integers(3, 6, n)
    rows = []
    for place, count in enumerate(options):
        weight = np.exp(shared.normal(0, 1.5, count))
        rows.append({"question_id": f"q{place}", "truth": (weight / weight.sum()).tolist()})
    for language in LANGUAGES:
        path = folder / f"{language}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), path)
    return {"mmlu-prox": str(folder)}
