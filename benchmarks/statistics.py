"""Every table of the paper's grid from generated records: time and memory of ``polycal measure``.

    python benchmarks/statistics.py [--checkpoints 30] [--draws 1000] [--csv benchmarks/results.csv]

30 checkpoints (three models; none, and three data sets with three β) on 29 languages of MMLU-ProX (11,759
questions of 3 to 10 options) and 42 of Global-MMLU (14,042 of four): 2,130 records. They are written into a
temporary folder (about 3 GB) and measured in a process of its own. The peer is the plain loop: the same
draws of one record, each resampled and given to ``polycal.calibration.ece``.
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

MODELS = ("mistral", "llama", "gemma2")
DATA = ("alpaca", "tulu", "openhermes")
BETAS = ("0", "0.1", "0.2")
BENCHMARKS = {"mmlu-prox": (11759, 29, 3, 10), "global-mmlu": (14042, 42, 4, 4)}
SHARPNESS = {"none": 1.0, "0": 2.0, "0.1": 1.6, "0.2": 1.4}
LEVELS = ("high", "mid", "low")


def checkpoints() -> list[tuple[str, ...]]:
    """(model, data, recipe, beta, seed), base models first."""
    bases = [(model, "none", "none", "none", "none") for model in MODELS]
    return bases + [(model, data, "paper", beta, "42") for model in MODELS for data in DATA for beta in BETAS]


def languages(count: int) -> list[str]:
    return ["en", *(f"l{place:02d}" for place in range(1, count))]


def generate(folder: Path, chosen: list[tuple[str, ...]]) -> list[Path]:
    """Score files with parallel questions: what a question is worth is shared, noise is each file's own."""
    files = []
    for benchmark, (n, count, least, most) in BENCHMARKS.items():
        rng = np.random.default_rng(len(benchmark))
        options = rng.integers(least, most + 1, n)
        total = int(options.sum())
        offsets = pa.array(np.concatenate([[0], np.cumsum(options)]), pa.int32())
        truth = rng.normal(0, 1.5, total).astype(np.float32)
        padded = np.full((n, most), -np.inf)
        padded[np.arange(most) < options[:, None]] = truth
        gold = (padded + rng.gumbel(size=padded.shape)).argmax(1)  # one draw from the softmax of the truth
        ids = pa.array([f"{benchmark}-{place}" for place in range(n)])
        constant = pa.array(["x"] * n)
        lengths = pa.ListArray.from_arrays(offsets, pa.array(np.full(total, 2), pa.int32()))
        for checkpoint in chosen:
            for language in languages(count):
                noise = rng.standard_normal(total, dtype=np.float32)
                score = SHARPNESS[checkpoint[3]] * (truth + 0.8 * noise) - 8
                values = pa.array(score * 2, pa.float32())
                table = pa.table(
                    [
                        ids,
                        constant,
                        pa.array(gold, pa.int32()),
                        pa.ListArray.from_arrays(offsets, values),
                        lengths,
                        lengths,
                        constant,
                    ],
                    schema=records.SCORE,
                )
                cell = dict(zip(("model", "data", "recipe", "beta", "seed"), checkpoint, strict=True))
                cell |= {"benchmark": benchmark, "protocol": "texts-0shot", "language": language}
                note = {
                    "cell": {**cell, "stage": "score", "settings": {"candidates": "texts"}},
                    "content": "x",
                }
                table = table.replace_schema_metadata({b"polycal": json.dumps(note).encode()})
                path = folder / ("_".join([*checkpoint, benchmark, language]) + ".parquet")
                pq.write_table(table, path, compression="zstd", compression_level=1)
                files.append(path)
    return files


def settings(draws: int) -> dict:
    names = sorted({name for _, count, _, _ in BENCHMARKS.values() for name in languages(count)})
    return {
        "bins": 15,
        "binning": "width",
        "normalise": {"letters": "sum", "texts": "token"},
        "bootstrap_samples": draws,
        "seed": 0,
        "resource": {name: LEVELS[place % 3] for place, name in enumerate(names)},
        "sensitivity": {
            "bins": [10, 15, 30],
            "binning": ["width", "mass"],
            "normalise": ["sum", "token", "byte"],
        },
    }


def measured(folder: Path, draws: int) -> dict[str, float]:
    """Wall and CPU seconds and peak memory of measuring ``folder``, in a process of its own."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--measure", str(folder), "--draws", str(draws)]
    start = time.perf_counter()
    subprocess.run(command, check=True, env=environment)
    wall = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"wall_s": wall, "cpu_s": used.ru_utime + used.ru_stime, "peak_gib": used.ru_maxrss / 2**20}


def plain_loop(draws: int) -> float:
    """Seconds that ECE alone takes of one Global-MMLU record, one resample at a time."""
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.25, 1, 14042)
    correct = (rng.random(14042) < confidence).astype(float)
    start = time.perf_counter()
    for _ in range(draws):
        place = rng.integers(0, 14042, 14042)
        calibration.ece(confidence[place], correct[place])
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--checkpoints", type=int, default=30)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--csv", type=Path, help="append the figures to this file")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.measure:
        from polycal.analysis import measure

        files = sorted(told.measure.glob("*.parquet"))
        measure.measure(files, settings=settings(told.draws), out=told.measure / "tables", note={})
        return
    with tempfile.TemporaryDirectory() as name:
        start = time.perf_counter()
        files = generate(Path(name), checkpoints()[: told.checkpoints])
        print(f"{len(files)} records written in {time.perf_counter() - start:.0f} s", flush=True)
        figures = {"records": float(len(files)), **measured(Path(name), told.draws)}
    figures["loop_ece_alone_s"] = plain_loop(told.draws) * len(files)
    for key, value in figures.items():
        print(f"{key:>18} {value:.2f}")
    results.append(
        told.csv, "statistics", f"{len(files)} records, {told.draws} draws", figures, ("numpy", "pandas")
    )


if __name__ == "__main__":
    main()
