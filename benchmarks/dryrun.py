"""What the fingerprints cost while planning: the paper's grid against the same graph without them.

    python benchmarks/dryrun.py [--rounds 5] [--csv benchmarks/results.csv]

The peer is a copy of the workflow from whose rules the parameters ``cell``, ``cells`` and ``code`` are cut, with the
words of the shell commands that name them; rules, inputs, outputs and all other directives stay. Both are planned
with ``snakemake -n`` in an empty folder, in turn; a pair gives one ratio of the processes' CPU time.
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


def copy(folder: Path, bare: bool) -> None:
    """The workflow in ``folder``; ``bare`` cuts what fingerprints its jobs."""
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
            raise SystemExit(f"{path.name}: {left.group()} is still used; teach this benchmark to cut it.")
    if not cut:
        raise SystemExit("no parameter was cut: both sides would be the same.")


def planned(folder: Path) -> tuple[float, int]:
    """CPU seconds of a dry run, and how many jobs it plans."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "snakemake", "-n", "--quiet", "rules", "-c", "1"]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(words, cwd=folder, env=environment, stdout=said, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        said.seek(0)
        text = said.read()
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
    told = parser.parse_args()
    ratios, times = [], []
    with tempfile.TemporaryDirectory() as folder:
        sides = {"whole": Path(folder) / "whole", "bare": Path(folder) / "bare"}
        for name, place in sides.items():
            place.mkdir()
            copy(place, name == "bare")
            planned(place)  # imports are compiled and cached
        for number in range(told.rounds):
            order = list(sides) if number % 2 == 0 else list(sides)[::-1]
            found = {name: planned(sides[name]) for name in order}
            if found["whole"][1] != found["bare"][1]:
                raise SystemExit(f"the graphs differ: {found['whole'][1]} and {found['bare'][1]} jobs.")
            times.append(found["whole"][0])
            ratios.append(found["whole"][0] / found["bare"][0])
    ratio, jobs = np.median(ratios), found["whole"][1]
    print(
        f"{jobs} jobs: {np.median(times):.2f} s of CPU, {ratio:.3f} times the bare graph"
        f" ({min(ratios):.3f} to {max(ratios):.3f} in {told.rounds} pairs; mark {MARK})"
    )
    results.append(
        told.csv,
        "dryrun",
        f"{jobs} jobs",
        {"cpu_over_bare": ratio, "cpu_s": float(np.median(times))},
        ("snakemake",),
    )
    if ratio > MARK:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
