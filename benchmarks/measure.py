"""Time and memory of ``polycal measure`` for every table of the paper's grid, from generated records.

    python benchmarks/measure.py [--checkpoints 30] [--seeds 1] [--languages 42] [--samples 1000]
        [--csv benchmarks/results.csv]

There are 2,130 records. 30 checkpoints (three models, each untuned and tuned on three data sets with three β) answer
MMLU-ProX (29 languages, 11,759 questions with 3 to 10 options) and Global-MMLU (42 languages, 14,042 questions with
four options). With five tuning seeds there are 9,798 records, because base models have no tuning seed. ``--checkpoints``
and ``--languages`` measure a slice. The records are written to a temporary folder (about 3 GB) and measured in a process
of its own. For comparison, a plain loop computes ``polycal.metrics.ece`` of each bootstrap sample of one record.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import results
from polycal.artifacts import records
from polycal.metrics import calibration
from polycal.vocabulary import CHECKPOINT_KEYS, NONE, RESOURCE_LEVELS

MODELS = ("mistral", "llama", "gemma2")
DATA = ("alpaca", "tulu", "openhermes")
BETAS = ("0", "0.1", "0.2")
BENCHMARKS = {"mmlu-prox": (11759, 29, 3, 10), "global-mmlu": (14042, 42, 4, 4)}
SHARPNESS = {"none": 1.0, "0": 2.0, "0.1": 1.6, "0.2": 1.4}


def checkpoints(seeds: int) -> list[tuple[str, ...]]:
    """The values of CHECKPOINT_KEYS, base models first, then all seeds of a model and data set."""
    bases = [(model, NONE, NONE, NONE, NONE, NONE) for model in MODELS]
    return bases + [
        (model, NONE, data, "paper", beta, str(seed))
        for model in MODELS
        for data in DATA
        for beta in BETAS
        for seed in range(42, 42 + seeds)
    ]


def languages(count: int) -> list[str]:
    return ["en", *(f"l{number:02d}" for number in range(1, count))]


def generate(folder: Path, chosen: list[tuple[str, ...]], most_languages: int) -> list[Path]:
    """Write score records with parallel questions. They share true scores, and each has noise of its own."""
    files = []
    for benchmark, (n, count, least, most) in BENCHMARKS.items():
        rng = np.random.default_rng(len(benchmark))
        options = rng.integers(least, most + 1, n)
        total = int(options.sum())
        offsets = pa.array(np.concatenate([[0], np.cumsum(options)]), pa.int32())
        truth = rng.normal(0, 1.5, total).astype(np.float32)
        padded = np.full((n, most), -np.inf)
        padded[np.arange(most) < options[:, None]] = truth
        gold = (padded + rng.gumbel(size=padded.shape)).argmax(1)  # one sample from the softmax of the truth
        constant = pa.array(["x"] * n)
        lengths = pa.ListArray.from_arrays(offsets, pa.array(np.full(total, 2), pa.int32()))
        columns = {
            "question_id": pa.array([f"{benchmark}-{number}" for number in range(n)]),
            "group": constant,
            "gold": pa.array(gold, pa.int32()),
            "option_tokens": lengths,
            "option_bytes": lengths,
            "prompt_sha256": constant,
        }
        for checkpoint in chosen:
            cell = {**dict(zip(CHECKPOINT_KEYS, checkpoint, strict=True)), "benchmark": benchmark}
            for language in languages(min(count, most_languages)):
                noise = rng.standard_normal(total, dtype=np.float32)
                score = SHARPNESS[cell["beta"]] * (truth + 0.8 * noise) - 8
                values = pa.ListArray.from_arrays(offsets, pa.array(score * 2, pa.float32()))
                path = folder / ("_".join([*checkpoint, benchmark, language]) + ".parquet")
                write(path, {**columns, "option_logprob": values}, {**cell, "language": language})
                files.append(path)
    return files


def write(path: Path, columns: dict, cell: dict[str, str]) -> None:
    """Write a score record without the checksum of its rows, which would take longer than all the rest."""
    cell = {**cell, "stage": "score", "protocol": "texts-0shot", "settings": {"candidates": "texts"}}
    metadata = json.dumps({"cell": cell, "content": "x"})
    table = pa.table([columns[name] for name in records.SCORE.names], schema=records.SCORE)
    table = table.replace_schema_metadata({b"polycal": metadata.encode()})
    pq.write_table(table, path, compression="zstd", compression_level=1)


def settings(samples: int) -> dict:
    names = sorted({name for _, count, _, _ in BENCHMARKS.values() for name in languages(count)})
    return {
        "bins": 15,
        "binning": "width",
        "normalise": {"letters": "sum", "texts": "token"},
        "bootstrap_samples": samples,
        "seed": 0,
        "resource": {name: RESOURCE_LEVELS[number % 3] for number, name in enumerate(names)},
        "sensitivity": {
            "bins": [10, 15, 30],
            "binning": ["width", "mass"],
            "normalise": ["sum", "token", "byte"],
        },
    }


def measured(folder: Path, samples: int) -> dict[str, float]:
    """Wall seconds, CPU seconds and peak memory of measuring ``folder`` in a process of its own."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--measure", str(folder), "--samples", str(samples)]
    start = time.perf_counter()
    subprocess.run(command, check=True, env=environment)
    wall = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"wall_s": wall, "cpu_s": used.ru_utime + used.ru_stime, "peak_gib": used.ru_maxrss / 2**20}


def plain_loop(samples: int) -> float:
    """Seconds to compute only the ECE of one Global-MMLU record, one bootstrap sample at a time."""
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.25, 1, 14042)
    correct = (rng.random(14042) < confidence).astype(float)
    start = time.perf_counter()
    for _ in range(samples):
        pick = rng.integers(0, 14042, 14042)
        calibration.ece(confidence[pick], correct[pick])
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--checkpoints", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=1, help="of each tuning")
    parser.add_argument("--languages", type=int, default=42, help="most of each benchmark")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--csv", type=Path, help="append the figures to this file")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        from polycal.analysis import measure

        scores = sorted(arguments.measure.glob("*.parquet"))
        cell = {"settings": settings(arguments.samples)}
        measure.measure(cell, scores=scores, out=arguments.measure / "tables", stamp=dict)
        return
    with tempfile.TemporaryDirectory() as name:
        start = time.perf_counter()
        files = generate(
            Path(name), checkpoints(arguments.seeds)[: arguments.checkpoints], arguments.languages
        )
        print(f"{len(files)} records written in {time.perf_counter() - start:.0f} s", flush=True)
        figures = {"records": float(len(files)), **measured(Path(name), arguments.samples)}
    figures["loop_ece_alone_s"] = plain_loop(arguments.samples) * len(files)
    for key, value in figures.items():
        print(f"{key:>18} {value:.2f}")
    size = f"{len(files)} records, {arguments.samples} draws"
    results.append(arguments.csv, "statistics", size, figures, ("numpy", "pandas"))


if __name__ == "__main__":
    main()
