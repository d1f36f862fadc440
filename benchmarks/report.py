"""Time, memory and size of the report of the paper's grid: tables, figures and pages, from generated records.

    python benchmarks/report.py FOLDER [--limit 2130] [--csv benchmarks/results.csv]

The study is that of ``config/config.yaml``: 2,130 records in 42 languages. If FOLDER has no measured study, the records
are generated there first and measured, which takes minutes. They have few questions, because the size of a report does
not depend on their number. The report is made in processes of its own, whose CPU time and memory are added up. Without
its inputs, a record on the provenance page names them as missing. ``report_page.py`` then measures the page in a browser.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import psutil

import results
from polycal.artifacts import cell_paths, records
from polycal.store import cache
from polycal.study import config_loading, grid, identities, paths

ROOT = Path(__file__).resolve().parents[1]
CONFIG = (ROOT / "config/languages.yaml", ROOT / "config/config.yaml")
QUESTIONS, SAMPLES = 400, 200
SHARPNESS = {"none": 1.0, "0": 2.0, "0.1": 1.6, "0.2": 1.4}
"""How much sharper than the true probabilities a model is, by β."""

STUDY = paths.STUDY.format(study="paper")


def manifest(cell: dict, reads: dict[str, str]) -> dict:
    code = "0123456789ab"
    cost = {"wall_seconds": 9.0, "cpu_seconds": 9.0, "gpus": 1, "gpu_seconds": 9.0, "peak_memory_bytes": 2**34,
            "queue_seconds": None}  # fmt: skip
    return {
        "stage": cell["stage"], "cell": cell, "reads": reads, "code": code, "code_version": code, "acceptances": [],
        "fingerprint": cache.fingerprint(cell, code, reads), "commit": "c" * 40, "dirty": False, "lock": None,
        "host": "node", "python": "3.11", "job": None, "started": "2026-01-01T10:00:00+00:00", "cost": cost,
    }  # fmt: skip


class Stamp:
    """The stamp of a stage that is called without the store."""

    def __init__(self, cell: dict, reads: dict[str, str]) -> None:
        self.facts = manifest(cell, reads)
        self.fingerprint = self.facts["fingerprint"]

    def __call__(self, **usage: float) -> dict:
        return self.facts


def settings() -> tuple[dict, dict]:
    """The cells of the stages measure and report."""
    config = config_loading.load(CONFIG)
    measured = json.loads(identities.measure(config))
    measured["settings"]["bootstrap_samples"] = SAMPLES
    return measured, json.loads(identities.report(config, ()))


def generate(files: list[Path]) -> dict[str, str]:
    """Write score records, whose noise and sharpness differ by language. Returns the checksum of each."""
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 1.5, (QUESTIONS, 4))
    gold = (truth + rng.gumbel(size=truth.shape)).argmax(1)
    checksums = {}
    for path in files:
        cell = {"stage": "score", **cell_paths.cell_in(path), "settings": {"candidates": "texts"}}
        own = np.random.default_rng(list(path.as_posix().encode()))
        skill = np.random.default_rng(list(cell["language"].encode())).uniform(0.3, 1.5)
        score = SHARPNESS[cell["beta"]] * (truth + skill * own.normal(size=truth.shape)) - 8
        rows = [
            {"question_id": f"q{place}", "group": "g", "gold": int(gold[place]), "option_logprob": list(score[place] * 2),
             "option_tokens": [2] * 4, "option_bytes": [4] * 4, "prompt_sha256": "x"}
            for place in range(QUESTIONS)
        ]  # fmt: skip
        made = manifest(cell, {"model": "1" * 64, "questions": "2" * 64})
        about = {**made, "checkpoint": "1" * 64, "device": "cuda", "questions": QUESTIONS}
        checksums[path.as_posix()] = records.write(path, rows, records.SCORE, about)
    return checksums


def prepare(limit: int) -> None:
    """Write the records and the measured tables below the working folder."""
    from polycal.analysis import measure

    cell, _ = settings()
    files = grid.score_records(cell)[:limit]
    start = time.perf_counter()
    checksums = generate(files)
    print(f"{len(files)} records written in {time.perf_counter() - start:.0f} s", flush=True)
    measure.measure(cell, scores=files, out=Path(STUDY), stamp=Stamp(cell, checksums))
    print(f"measured in {time.perf_counter() - start:.0f} s", flush=True)


def report() -> None:
    from polycal.report import page

    measured, cell = settings()
    tables = sorted(Path(STUDY).glob("*.parquet"))
    page.report(
        cell,
        measured=tables,
        scores=grid.score_records(measured),
        conversations=[],
        out=Path(STUDY) / "report.html",
        stamp=Stamp(cell, {table.name: "3" * 64 for table in tables}),
    )


def made() -> dict[str, float]:
    """Wall and CPU seconds of the report, and the most memory that its processes hold together (GiB)."""
    start = time.perf_counter()
    process = psutil.Popen([sys.executable, __file__, ".", "--report"], env=os.environ)
    most, spent = 0, {}
    while process.poll() is None:
        held = 0
        for one in (process, *process.children(recursive=True)):
            try:
                held += one.memory_full_info().pss
                times = one.cpu_times()
                spent[one.pid] = times.user + times.system
            except psutil.Error:
                continue  # it has just ended
        most = max(most, held)
        time.sleep(0.2)
    if process.returncode:
        sys.exit(process.returncode)
    wall = time.perf_counter() - start
    folder = Path(STUDY)
    figures = list((folder / "figures").glob("*.png"))
    return {
        "wall_s": wall,
        "cpu_s": sum(spent.values()),
        "peak_gib": most / 2**30,
        "page_mb": (folder / "report.html").stat().st_size / 1e6,
        "provenance_mb": (folder / "provenance.html").stat().st_size / 1e6,
        "figures": len(figures),
        "figures_mb": sum(path.stat().st_size for path in (folder / "figures").iterdir()) / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int, default=2130, help="most records that are generated")
    parser.add_argument("--csv", type=Path, help="append the figures to this file")
    parser.add_argument("--report", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    out = arguments.csv.absolute() if arguments.csv else None
    arguments.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(arguments.folder)
    if arguments.report:
        report()
        return
    if not Path(STUDY, "cells.parquet").exists():
        prepare(arguments.limit)
    figures = made()
    for key, value in figures.items():
        print(f"{key:>18} {value:.2f}")
    results.append(out, "report", f"{arguments.limit} records", figures, ("matplotlib", "pandas"))


if __name__ == "__main__":
    main()
