"""What the cluster's profile and executor cost, on a real Slurm controller: the one of tests/slurm, on this machine.

    python benchmarks/slurm.py [--rounds 3] [--csv benchmarks/results.csv]

Jobs: a workflow of trivial jobs, one at a time, with the shipped profile, with the bare Slurm executor as it comes, and
with the bare one told to look as early. Overhead is the wall time a job on top of the job's own work.
Restart: of the paper's grid for one model most is done; Snakemake is killed (-9) with jobs still to be submitted and
started again, which takes until its first submission. The peer is Snakemake finding nothing to do in the same graph
with all outputs there, without fingerprints (see dryrun.py). Sides are taken in turn; a round gives one ratio.
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


def profile(folder: Path, partition: str, **changes: object) -> list[str]:
    """The words for the shipped profile with a partition of this site and ``changes``."""
    told = yaml.safe_load(PROFILE.read_text())
    told["default-resources"] |= {"slurm_partition": partition, "slurm_account": "lab"}
    folder.mkdir(exist_ok=True)
    (folder / PROFILE.name).write_text(yaml.safe_dump(told | changes))
    return ["--profile", str(folder)]


def snakemake(cluster: Cluster, folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """A controller in ``folder``; what it says goes to ``said`` there."""
    environment = {**cluster.environment(), "OMP_NUM_THREADS": "1"}
    # stages and jobs are called by name
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    with (folder / "said").open("wb") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", *words],
            cwd=folder,
            env=environment,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )


def ended(cluster: Cluster, folder: Path, *words: str) -> float:
    """Seconds until a controller has ended, which must be well."""
    begun = time.monotonic()
    if snakemake(cluster, folder, *words).wait():
        raise SystemExit(f"snakemake failed:\n{(folder / 'said').read_text()[-3000:]}")
    return time.monotonic() - begun


def overhead(cluster: Cluster, folder: Path, words: Sequence[str]) -> tuple[float, float]:
    """Seconds a trivial job takes on top of its work, as the controller and as Slurm see it."""
    folder.mkdir(parents=True)
    (folder / "Snakefile").write_text(TRIVIAL)
    since = time.time() - 1
    whole = ended(cluster, folder, *words)
    spent = [[int(part) for part in job["Elapsed"].split(":")] for job in cluster.jobs(since)]
    if len(spent) != JOBS:
        raise SystemExit(f"Slurm ran {len(spent)} jobs instead of {JOBS}.")
    inside = np.mean([60 * minutes + seconds for _, minutes, seconds in spent])
    return whole / JOBS - WORK, float(inside) - WORK


def done(cluster: Cluster, folder: Path, bare: bool) -> list[str]:
    """The grid in ``folder`` with every output there and recorded as made; the words that plan it."""
    folder.mkdir()
    dryrun.copy(folder, bare)
    (folder / "one.yaml").write_text(GRID)
    words = [TARGET, "--configfile", "config/languages.yaml", "config/config.yaml", "one.yaml"]
    ended(cluster, folder, "--summary", *words)
    lines = [line.split("\t") for line in (folder / "said").read_text().splitlines()]
    for path in (folder / line[0] for line in lines if len(line) > 3 and line[0] != "output_file"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("made\n")
    ended(cluster, folder, "--touch", "--forceall", "--cores=1", *words)
    return ["--cores=1", *words]


def nothing(cluster: Cluster, folder: Path, words: Sequence[str]) -> float:
    """Seconds that Snakemake takes to find nothing to do."""
    took = ended(cluster, folder, *words)
    if "Nothing to be done" not in (folder / "said").read_text():
        raise SystemExit("the peer found something to do.")
    return took


def submitted(cluster: Cluster, folder: Path, words: Sequence[str]) -> float:
    """Seconds until a controller submits its first job; it is killed then, and its jobs with it."""
    begun = time.monotonic()
    controller = snakemake(cluster, folder, *words)
    try:
        while not SUBMITTED.search((folder / "said").read_text()):
            if controller.poll() is not None:
                raise SystemExit(f"nothing was submitted:\n{(folder / 'said').read_text()[-3000:]}")
            time.sleep(0.02)
        return time.monotonic() - begun
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(controller.pid, signal.SIGKILL)
        controller.wait()
        cluster.cancel_all()


def jobs(cluster: Cluster, folder: Path, rounds: int) -> dict[str, float]:
    """Overhead a job of the three sides."""
    early = [f"--slurm-init-seconds-before-status-checks={LOOK}"]
    sides = {"": profile(folder / "one", "cpu", jobs=1), "bare_": BARE, "bare_early_": [*BARE, *early]}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides)[:: 1 if number % 2 == 0 else -1]:
            found[name].append(overhead(cluster, folder / f"{name or 'own_'}{number}", sides[name]))
    figures = {}
    for name, pairs in found.items():
        figures[f"{name}overhead_s"], figures[f"{name}in_slurm_s"] = np.median(pairs, axis=0).tolist()
    for name in ("bare_", "bare_early_"):
        ratios = [own[0] / peer[0] for own, peer in zip(found[""], found[name], strict=True)]
        figures[f"over_{name[:-1]}"] = float(np.median(ratios))
    return figures


def restart(cluster: Cluster, folder: Path, rounds: int) -> dict[str, float]:
    """From a restart to its first submission, and what a Snakemake takes that has nothing to do."""
    whole, bare = folder / "whole", folder / "bare"
    with ThreadPoolExecutor() as pool:  # it sleeps most of its time
        words, peer = pool.map(partial(done, cluster), (whole, bare), (False, True))
    records = sorted(whole.glob("results/scores/**/scores.parquet"))
    for path in (*records[::5], *whole.glob("results/studies/paper/*.parquet")):
        path.unlink()
    words = [*words[1:], *profile(folder / "many", "gpu")]
    # jobs wait, so that none takes the processor from what is timed
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
    told = parser.parse_args()
    if lacking := missing():
        raise SystemExit(f"no Slurm on this machine: {', '.join(lacking)} missing.")
    with tempfile.TemporaryDirectory(prefix="polycal-slurm-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        cluster = Cluster(folder / "cluster")
        try:
            cluster.up()
            until("the nodes are idle", lambda: set(cluster.nodes().values()) == {"idle"})
            found = {
                f"trivial jobs of {WORK:.0f} s, one at a time": jobs(cluster, folder, told.rounds),
                "restart, paper's grid of one model": restart(cluster, folder, told.rounds),
            }
        finally:
            cluster.down()
    for case, figures in found.items():
        print(f"{case}: " + ", ".join(f"{key} {value:.2f}" for key, value in figures.items()))
        results.append(told.csv, "slurm", f"{case}, {told.rounds} rounds", figures, VERSIONS)
    if figures["restart_over_nothing"] > MARK:
        raise SystemExit(f"the restart took more than {MARK} times a Snakemake with nothing to do.")


if __name__ == "__main__":
    main()
