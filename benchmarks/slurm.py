"""Cost of the Slurm profile and its executor, on a real Slurm controller: that of tests/slurm, on this machine.

    python benchmarks/slurm.py [--rounds 3] [--csv benchmarks/results.csv]

Jobs: a workflow of trivial jobs, one at a time, runs with the shipped profile, with the original Slurm executor, and
with the original executor at the shipped delay before the first status check. The overhead is the wall time per job
beyond its own work.

Restart: most results of the paper's grid for one model exist. Snakemake is killed (-9) while jobs are to be
submitted, and started again. The time until its first submission is compared with a Snakemake that finds nothing to
do, in the same graph without fingerprints (see dryrun.py). The order alternates, and each round gives one ratio.
"""

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import dryrun
import numpy as np
import yaml

import results

sys.path.insert(0, str(dryrun.ROOT / "tests/slurm"))

from helpers.cluster import Cluster, missing, until

PROFILE = dryrun.ROOT / "profiles/slurm/profile.v9+.yaml"
VERSIONS = ("snakemake", "snakemake-executor-plugin-slurm")
WORK = 1.0
JOBS = 2
TRIVIAL = f"""
rule all:
    input: expand("out/{{n}}", n=range({JOBS}))

rule work:
    output: "out/{{n}}"
    shell: "sleep {WORK}; touch {{output}}"
"""
BARE = [
    "--executor=slurm", "--jobs=1", "--default-resources", "slurm_partition=cpu", "slurm_account=lab",
    "mem_mb=4000", "runtime=60",
]  # fmt: skip
LOOK = yaml.safe_load(PROFILE.read_text())["slurm-patient-init-seconds-before-status-checks"]
GRID = "grid: {models: [gemma-2-2b]}\n"
TARGET = "results/studies/paper/cells.parquet"
SUBMITTED = re.compile(r"has been submitted with SLURM jobid")
MARK = 1.5
"""Largest ratio of a restart that is accepted."""
OUTPUT = "output.txt"


def profile(folder: Path, partition: str, **changes: object) -> list[str]:
    """Options for the shipped profile with ``partition`` and with ``changes`` of its settings."""
    settings = yaml.safe_load(PROFILE.read_text())
    settings["default-resources"] |= {"slurm_partition": partition, "slurm_account": "lab"}
    folder.mkdir(exist_ok=True)
    (folder / PROFILE.name).write_text(yaml.safe_dump(settings | changes))
    return ["--profile", str(folder)]


def snakemake(cluster: Cluster, folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """Start Snakemake in ``folder``. Its output goes to the file OUTPUT there."""
    environment = {**cluster.environment(), "OMP_NUM_THREADS": "1"}
    # The rules call polycal and snakemake by name.
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    with (folder / OUTPUT).open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", *words],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def seconds_of(cluster: Cluster, folder: Path, *words: str) -> float:
    """Seconds until a Snakemake ends. Its exit status must be 0."""
    begun = time.monotonic()
    if snakemake(cluster, folder, *words).wait():
        raise SystemExit(f"snakemake failed:\n{(folder / OUTPUT).read_text()[-3000:]}")
    return time.monotonic() - begun


def overhead(cluster: Cluster, folder: Path, words: Sequence[str]) -> tuple[float, float]:
    """Seconds per trivial job beyond its work: (by Snakemake's wall time, by Slurm's elapsed time)."""
    folder.mkdir(parents=True)
    (folder / "Snakefile").write_text(TRIVIAL)
    since = time.time() - 1
    whole = seconds_of(cluster, folder, *words)
    elapsed = [[int(part) for part in job["Elapsed"].split(":")] for job in cluster.jobs(since)]
    if len(elapsed) != JOBS:
        raise SystemExit(f"Slurm ran {len(elapsed)} jobs instead of {JOBS}.")
    inside = np.mean([60 * minutes + seconds for _, minutes, seconds in elapsed])
    return whole / JOBS - WORK, float(inside) - WORK


def finished_grid(cluster: Cluster, folder: Path, bare: bool) -> list[str]:
    """Make a grid in ``folder`` with all outputs present and known to Snakemake. Returns the options that plan it."""
    folder.mkdir()
    dryrun.copy(folder, bare)
    (folder / "one.yaml").write_text(GRID)
    words = [TARGET, "--configfile", "config/languages.yaml", "config/config.yaml", "one.yaml"]
    seconds_of(cluster, folder, "--summary", *words)
    lines = [line.split("\t") for line in (folder / OUTPUT).read_text().splitlines()]
    for path in (folder / line[0] for line in lines if len(line) > 3 and line[0] != "output_file"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("made\n")
    seconds_of(cluster, folder, "--touch", "--forceall", "--cores=1", *words)
    return ["--cores=1", *words]


def nothing(cluster: Cluster, folder: Path, words: Sequence[str]) -> float:
    """Seconds of a Snakemake that finds nothing to do."""
    took = seconds_of(cluster, folder, *words)
    if "Nothing to be done" not in (folder / OUTPUT).read_text():
        raise SystemExit("Snakemake found something to do.")
    return took


def submitted(cluster: Cluster, folder: Path, words: Sequence[str]) -> float:
    """Seconds until Snakemake submits its first job. Then it is killed, and its jobs are cancelled."""
    begun = time.monotonic()
    controller = snakemake(cluster, folder, *words)
    try:
        while not SUBMITTED.search((folder / OUTPUT).read_text()):
            if controller.poll() is not None:
                raise SystemExit(f"nothing was submitted:\n{(folder / OUTPUT).read_text()[-3000:]}")
            time.sleep(0.02)
        return time.monotonic() - begun
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(controller.pid, signal.SIGKILL)
        controller.wait()
        cluster.cancel_all()


def jobs(cluster: Cluster, folder: Path, rounds: int) -> dict[str, float]:
    """The overhead per job with each of the three executors."""
    early = [f"--slurm-init-seconds-before-status-checks={LOOK}"]
    sides = {"": profile(folder / "one", "cpu", jobs=1), "bare_": BARE, "bare_early_": [*BARE, *early]}
    overheads: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides)[:: 1 if number % 2 == 0 else -1]:
            overheads[name].append(overhead(cluster, folder / f"{name or 'own_'}{number}", sides[name]))
    figures = {}
    for name, pairs in overheads.items():
        figures[f"{name}overhead_s"], figures[f"{name}in_slurm_s"] = np.median(pairs, axis=0).tolist()
    for name in ("bare_", "bare_early_"):
        ratios = [own[0] / peer[0] for own, peer in zip(overheads[""], overheads[name], strict=True)]
        figures[f"over_{name[:-1]}"] = float(np.median(ratios))
    return figures


def restart(cluster: Cluster, folder: Path, rounds: int) -> dict[str, float]:
    """Seconds from a restart to its first submission, and seconds of a Snakemake with nothing to do."""
    whole, bare = folder / "whole", folder / "bare"
    with ThreadPoolExecutor() as pool:
        words, peer = pool.map(partial(finished_grid, cluster), (whole, bare), (False, True))
    records = sorted(whole.glob("results/scores/**/scores.parquet"))
    for path in (*records[::5], *whole.glob("results/studies/paper/*.parquet")):
        path.unlink()
    words = [*words[1:], *profile(folder / "many", "gpu")]
    # Jobs stay in the queue, so that none uses the processor during the measurement.
    cluster.call("scontrol", "update", "NodeName=g1,g2", "State=DRAIN", "Reason=held")
    submitted(cluster, whole, words)
    nothing(cluster, bare, peer)
    pairs = []
    for number in range(rounds):
        if number % 2:
            own, other = submitted(cluster, whole, words), nothing(cluster, bare, peer)
        else:
            other, own = nothing(cluster, bare, peer), submitted(cluster, whole, words)
        pairs.append((own, other))
    figures = dict(zip(("restart_s", "nothing_s"), np.median(pairs, axis=0).tolist(), strict=True))
    return {**figures, "restart_over_nothing": float(np.median([own / other for own, other in pairs]))}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    if programs := missing():
        raise SystemExit(f"no Slurm on this machine: {', '.join(programs)} missing; install them.")
    with tempfile.TemporaryDirectory(prefix="polycal-slurm-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        cluster = Cluster(folder / "cluster")
        try:
            cluster.up()
            until("the nodes are idle", lambda: set(cluster.nodes().values()) == {"idle"})
            cases = {
                f"trivial jobs of {WORK:.0f} s, one at a time": jobs(cluster, folder, arguments.rounds),
                "restart, paper's grid of one model": restart(cluster, folder, arguments.rounds),
            }
        finally:
            cluster.down()
    for case, figures in cases.items():
        print(f"{case}: " + ", ".join(f"{key} {value:.2f}" for key, value in figures.items()))
        results.append(arguments.csv, "slurm", f"{case}, {arguments.rounds} rounds", figures, VERSIONS)
    if figures["restart_over_nothing"] > MARK:
        raise SystemExit(
            f"the restart took more than {MARK} times as long as a Snakemake with nothing to do."
        )


if __name__ == "__main__":
    main()
