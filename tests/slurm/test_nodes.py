"""Training on several processes and nodes under a real Slurm controller, as profiles/slurm/README.md describes.

The GPUs of the nodes are fake, so ranks compute on the CPU and communicate through gloo. Everything else is as on a
real cluster.
"""

import contextlib
import json
import re
import subprocess
import sys

import numpy as np
import psutil
import pytest
from helpers.cluster import until
from helpers.runs import TUNED, Study
from safetensors.numpy import load_file

from polycal.artifacts import manifests
from polycal.study import paths

# JOB has only the Slurm variable that the executor leaves to a job. RANK takes two seconds to save after a signal.
JOB = """#!/bin/sh
for name in $(env | grep ^SLURM_ | cut -d= -f1 | grep -v -x SLURM_JOB_ID); do unset $name; done
PATH={bin}:$PATH exec {python} -c "
import pathlib, sys
from polycal.training import launcher
sys.exit(launcher.over_nodes([sys.executable, '{rank}'], 2, 2, pathlib.Path('{folder}')))"
"""
RANK = """
import os, signal, sys, time
def save(*_):
    time.sleep(2)
    os.write(1, f"rank {os.environ['RANK']} saved\\n".encode())
    os._exit(75)
signal.signal(signal.SIGTERM, save)
time.sleep(300)
"""

BETAS = ("0.1", "0.2")
CELLS = [
    paths.FINETUNED.format(model="own", base_seed="none", **{**TUNED, "beta": beta}, lr="0.001")
    for beta in BETAS
]
RECIPE = {"recipes.brief.epochs": 200, "recipes.brief.micro_batch_size": 2}


@pytest.fixture(scope="module")
def lay(prepared, cluster):
    """A function that makes a copy of the study without checkpoints.

    Its model trains on ``nodes`` nodes with ``gpus`` GPUs each.
    """
    made = []

    def lay(name, gpus=0, nodes=1):
        study = prepared.study(name, cluster, trained=False)
        ask(study, gpus, nodes)
        study.profile({"slurm_partition": "gpu", "gpu_model": "fake"})
        # so that the executor often queries the states of jobs
        study.variables["POLYCAL_SLURM_STEP_SECONDS"] = "1"
        made.append(study)
        return study

    yield lay
    for study in made:
        study.end()


def ask(study, gpus, nodes):
    """Configure the number of GPUs per node and of nodes on which the model is trained."""
    asked = {"grid.betas": list(BETAS), **RECIPE}
    study.give(asked, training_gpus=gpus, training_nodes=nodes, training_memory_mb=3000)


@pytest.fixture(scope="module")
def alone(lay):
    """A study in which one process trained each of the two cells, without Slurm."""
    study = lay("one_rank")
    study.run(*CELLS)
    return study


@pytest.fixture(scope="module")
def together(lay):
    """A study in which two jobs, on two nodes each, trained the two cells at the same time.

    Returns also the environments of all ranks and the allocations of both jobs while both ran.
    """
    study = lay("two_nodes", gpus=1, nodes=2)
    study.start(*CELLS)

    def both():
        found = {job: ranks(job, study.cluster) for job in study.cluster.running()}
        return found if len(found) == 2 and all(len(one) == 2 for one in found.values()) else None

    places = until("two jobs of two ranks each are at work", both, why=study.said)
    shares = {job: study.cluster.call("scontrol", "-d", "show", "job", job) for job in places}
    study.finish()
    return study, places, shares


def ranks(job, cluster):
    """The environments of the ranks of a running job, by rank. All nodes of the cluster are on this machine."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            said = process.environ()
            if (
                "RANK" in said
                and said.get("SLURM_JOB_ID") == job
                # jobs of other clusters may have the same number
                and said.get("SLURM_CONF") == str(cluster.conf)
                and "polycal.training.rank" in process.cmdline()
            ):
                found.append(said)
    return sorted(found, key=lambda one: int(one["RANK"]))


def weights(study, cell):
    path = study.work / cell
    return load_file(path.parent / manifests.read(path)["folder"] / "model.safetensors")


def equal_to_rounding(study, other, cell):
    one, two = weights(study, cell), weights(other, cell)
    assert one.keys() == two.keys()
    for name, value in two.items():
        assert np.linalg.norm(one[name] - value) <= 1e-6 * np.linalg.norm(value), name


def content(study, cell):
    return manifests.read(study.work / cell)["content"]


def test_two_processes_on_one_node(lay, alone, together, cluster):
    study = lay("one_node", gpus=2)
    study.start(CELLS[0])
    job = study.working("finetune")["job"]
    places = until("two ranks are at work", lambda: len(found := ranks(job, cluster)) == 2 and found)
    assert {(one["SLURMD_NODENAME"], one["CUDA_VISIBLE_DEVICES"]) for one in places} == {("g1", "0,1")}
    assert [(one["LOCAL_RANK"], one["WORLD_SIZE"]) for one in places] == [("0", "2"), ("1", "2")]
    study.finish()
    equal_to_rounding(study, alone, CELLS[0])
    # two ranks give the same weights on one node and on two
    assert content(study, CELLS[0]) == content(together[0], CELLS[0])


def test_two_jobs_on_the_same_two_nodes_at_once(alone, together):
    study, places, shares = together
    for job, (first, second) in places.items():
        assert (first["SLURMD_NODENAME"], second["SLURMD_NODENAME"]) == ("g1", "g2")
        assert (first["RANK"], second["RANK"]) == ("0", "1")
        assert {one["LOCAL_RANK"] for one in (first, second)} == {"0"}
        assert {one["WORLD_SIZE"] for one in (first, second)} == {"2"}
        assert all(one["CUDA_VISIBLE_DEVICES"] for one in (first, second))
        assert first["MASTER_PORT"] == second["MASTER_PORT"]
        assert "JOB_GRES=gpu:fake:2" in shares[job]
        # each node has its share of the GPUs
        assert shares[job].count("GRES=gpu:fake:1") in (1, 2)
    assert len({first["MASTER_PORT"] for first, _ in places.values()}) == 2
    for cell in CELLS:
        assert manifests.read(study.work / cell)["ranks"] == 2
        equal_to_rounding(study, alone, cell)
    assert not list(study.work.glob("results/**/.rendezvous-*"))


def test_scancel_of_a_job_on_two_nodes(lay, alone, together, cluster, folder):
    study = lay("cancelled", gpus=1, nodes=2)
    study.start(CELLS[0])
    job = study.training()["job"]
    cluster.call("scancel", job)
    until("the job is gone", lambda: job not in cluster.call("squeue", "-h", "-o", "%i").split())
    # the ranks of both nodes saved the state between the signal and the end of the job
    log = next(study.work.glob("logs/finetune/**/*.log")).read_text()
    assert re.search(r"CANCELLED AT .*^state of step \d+ saved$", log, re.DOTALL | re.MULTILINE), log
    [saved] = [json.loads(path.read_text()) for path in study.work.glob("results/**/state/*/complete.json")]
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= saved["files"].keys()
    assert saved["ranks"] == 2
    # a copy of the study continues on one node, while the study itself continues on two
    fewer = Study(folder / "studies/fewer", study.hub)
    subprocess.run(["cp", "-a", str(study.work.parent), str(fewer.work.parent)], check=True)
    fewer.cluster = cluster
    (fewer.work / "results/.snakemake.lock").unlink()
    ask(fewer, gpus=0, nodes=1)
    fewer.run(CELLS[0])
    assert "was made by 2 rank(s)" in fewer.logs()
    assert "this run has 1 at stage 2: the cell starts again" in fewer.logs()
    assert manifests.read(fewer.work / CELLS[0])["resumed_at"] is None
    assert content(fewer, CELLS[0]) == content(alone, CELLS[0])

    study.finish()
    [first, _] = cluster.jobs(study.begun)
    assert (first["JobIDRaw"], first["NodeList"]) == (job, "g[1-2]")
    assert first["State"].startswith("CANCELLED")
    made = manifests.read(study.work / CELLS[0])
    assert 0 < made["resumed_at"] < made["steps"]
    assert made["content"] == content(together[0], CELLS[0])
    assert sorted(study.computed().values()) == [1]


def test_the_warning_before_a_limit_gives_the_ranks_of_all_nodes_time_to_save(cluster, folder):
    place = folder / "warned"
    place.mkdir()
    values = {"bin": cluster.bin, "python": sys.executable, "rank": place / "rank.py", "folder": place}
    (place / "job.sh").write_text(JOB.format(**values))
    (place / "rank.py").write_text(RANK)
    # The signal is due 70 seconds after the start, so that the ranks have started before. Slurm checks every half
    # minute, and sends signals that are due before its next check.
    asked = ("-p", "gpu", "-N", "2", "-t", "60", "--signal=TERM@3530", "-o", str(place / "said"))
    job = cluster.call("sbatch", "--parsable", *asked, str(place / "job.sh")).strip()
    until("the job is gone", lambda: job not in cluster.call("squeue", "-h", "-o", "%i").split())
    said = (place / "said").read_text()
    assert sorted(re.findall(r"rank \d saved", said)) == [f"rank {n} saved" for n in range(4)], said

    def accounted():
        [ended] = [one for one in cluster.jobs() if one["JobIDRaw"] == job]
        return ended if ended["State"] != "RUNNING" else None

    # accounting may record the end after the job has left the queue
    ended = until("the job's end is accounted", accounted)
    assert (ended["State"], ended["ExitCode"]) == ("FAILED", "75:0")
    assert not list(place.glob(".rendezvous-*"))
