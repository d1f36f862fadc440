"""Logs in the layout of lm-evaluation-harness and lighteval, with invented questions and log-likelihoods."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TIME = "2026-03-04T05-06-07.890123"
WORDS = ("tree", "house", "river", "cloud", "stone")


def sample(
    number: int, options: list[str], logprob: list[float], target: Any, **other: Any
) -> dict[str, Any]:
    """One line in the format of lm-evaluation-harness since 0.4.3. ``options`` are given without the delimiter."""
    answers = [[str(value), "False"] for value in logprob]
    return {
        "doc_id": number,
        "doc": {"question": f"What is {number}?"},
        "target": str(target),
        "arguments": {
            f"gen_args_{place}": {"arg_0": f"What is {number}?\nAnswer:", "arg_1": f" {option}"}
            for place, option in enumerate(options)
        },
        "resps": [[answer] for answer in answers],
        "filtered_resps": answers,
        "filter": "none",
        "metrics": ["acc"],
        **other,
    }


def old_sample(number: int, options: list[str], logprob: list[float], target: Any) -> dict[str, Any]:
    """One element of the array in the format before 0.4.3: arguments are pairs, and numbers are not strings."""
    context = f"What is {number}?\nAnswer:"
    return {
        "doc_id": number,
        "doc": {"question": f"What is {number}?"},
        "target": target,
        "arguments": [[context, f" {option}"] for option in options],
        "resps": [[[value, False]] for value in logprob],
        "filtered_resps": [[value, False] for value in logprob],
    }


def samples(count: int = 8, seed: int = 0, letters: bool = False) -> list[dict[str, Any]]:
    """Lines for questions of three to five options with random log-likelihoods, and ``acc`` as the harness has it."""
    rng, shared, made = np.random.default_rng(seed), np.random.default_rng(7), []
    for number in range(count):
        size = int(shared.integers(3, 6))
        gold = int(shared.integers(size))
        logprob = rng.normal(-9, 3, size).astype(np.float32).tolist()
        options = ["A", "B", "C", "D", "E"][:size] if letters else list(shared.permutation(WORDS)[:size])
        right = float(int(np.argmax(logprob)) == gold)
        made.append(sample(number, options, logprob, options[gold] if letters else gold, acc=right))
    return made


def write_lines(path: Path, lines: list[Any]) -> Path:
    """Write a file of JSON lines in UTF-8, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path


def write_run(
    folder: Path,
    tasks: dict[str, list[dict[str, Any]]],
    time: str = TIME,
    model: str = "lab/model",
    shots: int = 0,
) -> Path:
    """Write a run of lm-evaluation-harness, its results and one log per task, below ``folder``. Returns its folder."""
    run = folder / model.replace("/", "__")
    for task, lines in tasks.items():
        write_lines(run / f"samples_{task}_{time}.jsonl", lines)
    results = {
        "model_name": model,
        "lm_eval_version": "0.4.13",
        "n-shot": dict.fromkeys(tasks, shots),
        "n-samples": {task: {"original": 99, "effective": len(lines)} for task, lines in tasks.items()},
        "configs": {task: {"task": task} for task in tasks},
        "config": {"model": "hf", "model_args": f"pretrained={model},dtype=float32"},
        "chat_template": None,
    }
    (run / f"results_{time}.json").write_text(json.dumps(results))
    return run


def detail(
    number: int, options: list[str], logprob: list[float], gold: Any, tokens: Any, **other: Any
) -> dict[str, Any]:
    """One row in the format of lighteval since 0.11.0. Unless ``acc`` is given, it follows from ``logprob``."""
    right = other.pop("acc") if "acc" in other else int(int(np.argmax(logprob[: len(options)])) == gold)
    return {
        "doc": {
            "id": str(number),
            "query": f"What is {number}?\nAnswer:",
            "choices": [f" {option}" for option in options],
            "gold_index": gold,
        },
        "metric": {"acc": right},
        "model_response": {"logprobs": logprob, "output_tokens": tokens, "text": [], **other},
    }


def write_details(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write a file of details as lighteval does, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path
