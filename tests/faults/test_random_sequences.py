"""A study on the cluster under random sequences of known faults, edits and restarts. Each sequence has a seed.

At the end, all records equal those of an undisturbed run, and none was computed again after it was complete. If a run
stops early, its output gives the reason, and the same command continues the study.
"""

import contextlib
import os
import random
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))

from helpers.cluster import missing, running, short_folder, until
from helpers.endings import complete
from helpers.runs import Prepared

SEQUENCES = 30
FAULTS_OF_A_SEQUENCE = 3
STARTS = 6
"""Largest number of times that the same command is given again after a run stopped."""
SECONDS = 900
MODULE = "src/polycal/scoring/multiple_choice.py"
SENTENCES = re.compile(
    r"^polycal: |ended as [A-Z_]+: |works here; wait for it|failed results|WorkflowError", re.MULTILINE
)

pytestmark = pytest.mark.apart


@pytest.fixture(scope="module")
def folder():
    with short_folder("polycal-faults-") as made:
        yield made


@pytest.fixture(scope="module")
def cluster(folder):
    with running(folder / "cluster") as made:
        yield made


@pytest.fixture(scope="module")
def prepared(folder):
    return Prepared(folder / "studies").build()


def at_work(study):
    """The holder of the lock of a job that is working, or None if the run ends before there is one."""

    def holder():
        if study.controller.poll() is not None:
            return "ended"
        with contextlib.suppress(AssertionError):
            return study.working("score", 1)
        return None

    found = until("a job works, or the run has ended", holder, SECONDS, why=study.said)
    return None if found == "ended" else found


def cancel(study, cluster, rng):
    if holder := at_work(study):
        cluster.call("scancel", holder["job"])


def kill_process(study, cluster, rng):
    if holder := at_work(study):
        with contextlib.suppress(ProcessLookupError):
            os.kill(holder["pid"], signal.SIGKILL)


def freeze_process(study, cluster, rng):
    if holder := at_work(study):
        with contextlib.suppress(ProcessLookupError):
            os.kill(holder["pid"], signal.SIGSTOP)
            # longer than the time after which a lock without heartbeat is stale
            time.sleep(20)
            os.kill(holder["pid"], signal.SIGCONT)


def kill_controller(study, cluster, rng):
    at_work(study)
    study.controller.send_signal(signal.SIGKILL)
    study.controller.wait()
    study.start()


def interrupt_controller(study, cluster, rng):
    at_work(study)
    study.controller.send_signal(signal.SIGINT)
    study.controller.wait(SECONDS)
    study.start()


def lose_node(study, cluster, rng):
    if holder := at_work(study):
        node = holder["host"].split()[0]
        cluster.lose_power(node)
        cluster.call("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost")
        time.sleep(rng.uniform(0, 5))
        cluster.start_node(node)
        until("the node is back", lambda: cluster.nodes()[node] in ("idle", "mixed", "allocated"), SECONDS)


def edit_code(study, cluster, rng):
    at_work(study)
    path = study.code / MODULE
    before = path.read_text()
    path.write_text(before + '\nADDED = "a line that changes no number"\n')
    time.sleep(rng.uniform(0, 20))
    path.write_text(before)


def lose_snakemakes_folder(study, cluster, rng):
    at_work(study)
    shutil.rmtree(study.work / ".snakemake", ignore_errors=True)


def empty_notes(study, cluster, rng):
    at_work(study)
    for path in (study.work / "results").glob(".attempts/*/*.json"):
        with contextlib.suppress(FileNotFoundError):
            os.truncate(path, 0)


def cut_lock(study, cluster, rng):
    at_work(study)
    for path in (study.work / "results").glob("scores/**/.*.lock"):
        with contextlib.suppress(FileNotFoundError):
            os.truncate(path, 10)


FAULTS = (
    cancel,
    kill_process,
    freeze_process,
    kill_controller,
    interrupt_controller,
    lose_node,
    edit_code,
    lose_snakemakes_folder,
    empty_notes,
    cut_lock,
)


@pytest.mark.skipif(bool(missing()), reason=f"no Slurm on this machine: {missing()} missing")
@pytest.mark.parametrize("seed", range(SEQUENCES), ids=lambda seed: f"seed{seed:02d}")
def test_a_random_sequence_of_faults(prepared, cluster, seed):
    rng = random.Random(seed)
    faults = rng.sample(FAULTS, FAULTS_OF_A_SEQUENCE)
    print("faults:", *(fault.__name__ for fault in faults))
    study = prepared.study(f"seed{seed:02d}", cluster)
    try:
        study.start()
        for fault in faults:
            fault(study, cluster, rng)
        for _ in range(STARTS):
            said = study.wait(SECONDS)
            assert "Traceback" not in study.logs(), study.logs()
            if study.controller.returncode == 0:
                break
            assert SENTENCES.search(said), said
            study.start()
        assert study.controller.returncode == 0, said
        complete(study, prepared)
    finally:
        study.end()
