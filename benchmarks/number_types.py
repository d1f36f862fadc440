"""What scoring in bfloat16 changes, compared with float32, for one model and files of questions.

    python benchmarks/number_types.py --model FOLDER --questions en.parquet sw.parquet [--first 100]
        [--candidates letters] [--csv FILE]

The model is a folder of transformers, and a file of questions is one of polycal's, named after its language. For each
file, and for all together, the script prints the largest and the mean difference of a log-likelihood in nats, the
share of questions whose answer differs, and accuracy and ECE (15 bins, probabilities from summed log-likelihoods) in
float32 with their change in bfloat16. It also prints the questions per second of both types. The types are measured
one after the other. On a CPU with AMX, bfloat16 uses its matrix units.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

import results
from polycal.metrics.calibration import ece
from polycal.scoring import models, question_prompts
from polycal.scoring.candidate_scores import score_candidates

TYPES = ("float32", "bfloat16")


def differences(scores: Mapping[str, np.ndarray], gold: np.ndarray) -> dict[str, float]:
    """The figures of one language from the log-likelihoods [questions, options] in each type, and labels [questions].

    A question with fewer options has −inf in the others.
    """
    exact, rounded = (scores[dtype] for dtype in TYPES)
    is_option = np.isfinite(exact)
    distance = np.abs(exact[is_option] - rounded[is_option])
    figures = {"largest difference, nats": distance.max(), "mean difference, nats": distance.mean()}
    figures["share of other answers"] = (exact.argmax(1) != rounded.argmax(1)).mean()
    measured = {}
    for dtype, logprob in scores.items():
        p = np.exp(logprob - logprob.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        correct = p.argmax(1) == gold
        measured[dtype] = {"accuracy": correct.mean(), "ECE": ece(p.max(1), correct)}
    for name, value in measured["float32"].items():
        figures[name] = value
        figures[f"{name}, bfloat16 - float32"] = measured["bfloat16"][name] - value
    return {name: float(value) for name, value in figures.items()}


def scored(
    model: Path, files: Sequence[Path], candidates: str, first: int
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, np.ndarray], dict[str, float]]:
    """Log-likelihoods by language and type, labels by language, and questions per second by type."""
    settings = {"candidates": candidates, "num_fewshot": 0}
    asked = {
        file.stem: question_prompts.build_prompts({"settings": settings}, file, first=first) for file in files
    }
    logprob: dict[str, dict[str, np.ndarray]] = {language: {} for language in asked}
    rates = {}
    for dtype in TYPES:
        network, tokenizer = models.load(model, dtype, "sdpa", models.choose_device(model, dtype))
        seconds = 0.0
        for language, (_, prompts) in asked.items():
            scores = score_candidates(network, tokenizer, prompts)
            logprob[language][dtype] = _padded(scores.logprob)
            seconds += scores.timing["cpu_seconds" if network.device.type == "cpu" else "seconds"]
        rates[dtype] = sum(len(prompts) for _, prompts in asked.values()) / seconds
    return (
        logprob,
        {name: np.array([row["gold"] for row in rows]) for name, (rows, _) in asked.items()},
        rates,
    )


MOST_OPTIONS = 10


def _padded(logprob: Sequence[Sequence[float]]) -> np.ndarray:
    """Log-likelihoods [questions, MOST_OPTIONS]; −inf where a question has no such option."""
    return np.array([[*row, *[-np.inf] * (MOST_OPTIONS - len(row))] for row in logprob])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="a model folder")
    parser.add_argument("--questions", type=Path, nargs="+", required=True, help="one file per language")
    parser.add_argument("--candidates", default="letters", choices=("letters", "texts"))
    parser.add_argument("--first", type=int, default=100, help="number of questions per language")
    parser.add_argument("--csv", type=Path, help="append the figures to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", len(os.sched_getaffinity(0)))))
    logprob, gold, rates = scored(arguments.model, arguments.questions, arguments.candidates, arguments.first)
    cases = {language: differences(scores, gold[language]) for language, scores in logprob.items()}
    cases["all"] = differences(
        {dtype: np.concatenate([scores[dtype] for scores in logprob.values()]) for dtype in TYPES},
        np.concatenate(list(gold.values())),
    )
    unit = "questions per second" if torch.cuda.is_available() else "questions per second of CPU time"
    cases["all"] |= {f"{unit}, {dtype}": rate for dtype, rate in rates.items()}
    for language, figures in cases.items():
        for name, value in figures.items():
            print(f"{language:<8} {name:<44} {value:.5g}", flush=True)
        case = f"{arguments.model.name} {arguments.candidates} {language} {arguments.first} questions per language"
        results.append(arguments.csv, "number types", case, figures, ("torch", "transformers"))


if __name__ == "__main__":
    main()
