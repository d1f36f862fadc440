"""Cost of fingerprints in planning: a dry run of the paper's grid with and without them.

    python benchmarks/dryrun.py [--rounds 5] [--csv benchmarks/results.csv]

The bare workflow is a copy of the workflow without the parameters ``cell``, ``cells`` and ``code`` and the options in
shell commands that use them. Rules, inputs, outputs and all other directives are the same. Both are planned with
``snakemake -n`` in an empty folder, in alternating order. Each round gives one ratio of CPU times.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import results

ROOT = Path(__file__).resolve().parents[1]
PARAMETER = re.compile(r"^ +(?:cells?|code)=.*,\n", re.M)
WORD = re.compile(r'^ +" --(?:cells?|code) \{params\.\w+(?::q)?\}"\n', re.M)
INLINE = re.compile(r" --(?:cells?|code) \{params\.\w+(?::q)?\}")
EMPTY = re.compile(r"^( +)params:\n(?!\1 )", re.M)
MARK = 1.25
"""Largest ratio that is accepted."""


def copy(folder: Path, bare: bool) -> None:
    """Copy the workflow to ``folder``. ``bare``: remove the parameters of fingerprints."""
    shutil.copytree(ROOT / "workflow", folder / "workflow")
    shutil.copytree(ROOT / "config", folder / "config")
    shutil.copy(ROOT / "Snakefile", folder)
    if not bare:
        return
    cut = 0
    for path in sorted((folder / "workflow/rules").glob("*.smk")):
        text = path.read_text()
        text, count = PARAMETER.subn("", text)
        text = EMPTY.sub("", INLINE.sub("", WORD.sub("", text)))
        cut += count
        path.write_text(text)
        if left := re.search(r"params\.(?:cells?|code)\b", text):
            raise SystemExit(
                f"{path.name}: {left.group()} is still used; extend the patterns of this benchmark."
            )
    if not cut:
        raise SystemExit("no parameter was removed, so both sides would be the same.")


def planned(folder: Path) -> tuple[float, int]:
    """(CPU seconds of a dry run, number of jobs that it plans)."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "snakemake", "-n", "--quiet", "rules", "-c", "1"]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            words, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, used = os.wait4(process.pid, 0)
        output.seek(0)
        text = output.read()
    total = re.search(r"^total +(\d+)$", text, re.M)
    if status or not total:
        raise SystemExit(f"the dry run failed:\n{text[-3000:]}")
    return used.ru_utime + used.ru_stime, int(total.group(1))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    ratios, times = [], []
    with tempfile.TemporaryDirectory() as folder:
        sides = {"whole": Path(folder) / "whole", "bare": Path(folder) / "bare"}
        for name, side in sides.items():
            side.mkdir()
            copy(side, name == "bare")
            planned(side)  # a first run, so that imports are compiled and cached
        for number in range(arguments.rounds):
            order = list(sides) if number % 2 == 0 else list(sides)[::-1]
            runs = {name: planned(sides[name]) for name in order}
            if runs["whole"][1] != runs["bare"][1]:
                raise SystemExit(f"the graphs differ: {runs['whole'][1]} and {runs['bare'][1]} jobs.")
            times.append(runs["whole"][0])
            ratios.append(runs["whole"][0] / runs["bare"][0])
    ratio, jobs = np.median(ratios), runs["whole"][1]
    print(
        f"{jobs} jobs: {np.median(times):.2f} CPU s, {ratio:.3f} times the bare workflow"
        f" ({min(ratios):.3f} to {max(ratios):.3f} in {arguments.rounds} rounds; at most {MARK} is accepted)"
    )
    results.append(
        arguments.csv,
        "dryrun",
        f"{jobs} jobs",
        {"cpu_over_bare": ratio, "cpu_s": float(np.median(times))},
        ("snakemake",),
    )
    if ratio > MARK:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
