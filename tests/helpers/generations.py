"""Records of generated answers with chosen answers and probabilities."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polycal.artifacts import cluster_records, open_records, records
from polycal.vocabulary import NONE

SETTINGS = {
    "bins": 15,
    "binning": "width",
    "bootstrap_samples": 50,
    "seed": 0,
    "resource": {"en": "high", "yo": "low"},
}


def row(
    name: str, greedy: str, samples: Sequence[str], *, right: bool, p: float = 0.5, tokens: int = 1
) -> dict[str, Any]:
    """A question. Its greedy answer has ``tokens`` tokens of probability ``p``, and P(True) ``p``."""
    logprob = float(np.log(p) * tokens)
    return {
        "question_id": name,
        "group": "g",
        "answers": [greedy if right else f"not {greedy}"],
        "greedy": greedy,
        "greedy_logprob": logprob,
        "greedy_tokens": tokens,
        "greedy_cut": False,
        "near_ties": 0,
        "samples": list(samples),
        "sample_logprob": [logprob] * len(samples),
        "sample_tokens": [tokens] * len(samples),
        "sample_cut": [False] * len(samples),
        "p_true": p,
        "p_true_spread": 0.0,
        "prompt_sha256": "0",
    }


def cell(**changes: str) -> dict[str, str]:
    checkpoint = {"model": "m", "base_seed": NONE, "data": NONE, "recipe": NONE, "beta": NONE, "seed": NONE}
    return {"stage": "generate", **checkpoint, "benchmark": "b", "language": "en", **changes}


def write(path: Path, rows: Sequence[Mapping[str, Any]], **names: str) -> Path:
    records.write(path, rows, open_records.GENERATION, {"stage": "generate", "cell": cell(**names)})
    return path


def study(
    folder: Path,
    languages: Sequence[str] = ("en", "yo"),
    tuned: Sequence[tuple[str, str]] = (("0", "1"),),
) -> list[Path]:
    """Records of a base model and of ``tuned`` ones (β, seed) in each language, with random answers."""
    rng, paths = np.random.default_rng(0), []
    for beta, seed in ((NONE, NONE), *tuned):
        for language in languages:
            rows = [
                row(
                    f"q{n}",
                    "a",
                    list(rng.choice(["a", "b", "c"], 4)),
                    right=bool(rng.random() < 0.5),
                    p=float(rng.uniform(0.1, 1)),
                )
                for n in range(20)
            ]
            names = {} if beta == NONE else {"data": "d", "recipe": "r", "beta": beta, "seed": seed}
            file = folder / f"{beta}-{seed}-{language}.parquet"
            paths.append(write(file, rows, language=language, **names))
    return paths


def cluster(path: Path, answers: Path, same: Sequence[str] = ("b", "c")) -> Path:
    """Write the clusters of a record of answers to ``path``: equal ones are together, and so are those of ``same``."""
    rows = []
    for one in open_records.read_generations(answers).to_pylist():
        texts = [same[0] if text in same else text for text in (one["greedy"], *one["samples"])]
        numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        greedy, *samples = (numbers[text] for text in texts)
        rows.append({"question_id": one["question_id"], "greedy": greedy, "samples": samples, "texts": 1})
    names = records.metadata(answers)["cell"]
    facts = {"stage": "cluster", "cell": {**names, "stage": "cluster", "entailment": "e"}}
    records.write(path, rows, cluster_records.CLUSTER, facts)
    return path
