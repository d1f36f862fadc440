"""Faults during training: it resumes from its state, and its weights are bit for bit those of an undisturbed run."""

import os
import signal

import pytest
from helpers.cluster import until
from helpers.endings import complete, recorded, resumed, runs, struck
from helpers.runs import CHECKPOINT, RECORDS, filled, needs_mounts

pytestmark = pytest.mark.apart


def test_scancel_of_a_training_job(untrained, prepared, cluster):
    untrained.start(CHECKPOINT)
    job = untrained.training()["job"]
    cluster.call("scancel", job)
    untrained.finish()
    struck(untrained, cluster, job, "CANCELLED")
    resumed(untrained, prepared)


def test_time_limit_of_a_training_job(untrained, prepared, cluster):
    untrained.start(CHECKPOINT)
    holder = untrained.training()
    job = holder["job"]
    # Slurm checks limits every half minute, and the training would end before that. It is stopped here; Slurm
    # continues a stopped process to which it sends a signal.
    os.kill(holder["pid"], signal.SIGSTOP)
    # the warning signal is due five minutes before the limit, so it is sent at the next check
    cluster.call("scontrol", "update", f"JobId={job}", "EndTime=now+200")
    said = untrained.finish()
    struck(untrained, cluster, job, "FAILED")
    resumed(untrained, prepared)
    # the job's shell survived the signal and waited until the state was saved
    assert "returned non-zero exit status 75" in said
    assert "died with <Signals" not in said


def test_preemption_of_a_training_job(untrained, prepared, cluster):
    untrained.profile({"slurm_partition": "spot"})
    untrained.start(CHECKPOINT)
    job = untrained.training()["job"]
    cluster.urgent()
    untrained.finish()
    struck(untrained, cluster, job, "PREEMPTED")
    resumed(untrained, prepared)


def test_preemption_and_requeue_of_a_training_job(untrained, prepared, cluster):
    untrained.profile({"slurm_partition": "spare"}, **{"slurm-patient-no-requeue": None})
    untrained.start(CHECKPOINT)
    job = untrained.training()["job"]
    cluster.urgent()
    cluster.requeued(job)
    untrained.finish()
    recorded(untrained, cluster, job, "PREEMPTED")
    assert runs(untrained, cluster) == {job: ["PREEMPTED", "COMPLETED"]}
    resumed(untrained, prepared)


def test_a_training_job_lost_with_its_node(untrained, prepared, cluster):
    untrained.save_often()
    untrained.start(CHECKPOINT)
    holder = untrained.training(saved=True)
    node = holder["host"].split()[0]
    cluster.lose_power(node)
    cluster.call("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost")
    untrained.finish()
    cluster.start_node(node)
    until("the node is back", lambda: cluster.nodes()[node] == "idle")
    struck(untrained, cluster, holder["job"], "NODE_FAIL")
    resumed(untrained, prepared)


def test_the_whole_cluster_stopped_and_started(untrained, prepared, cluster):
    # the scoring jobs wait in the queue, because another job fills their node
    full = cluster.call(
        "sbatch", "--parsable", "-p", "spare", "-c", "8", "-o", "/dev/null", "--wrap", "sleep 600"
    )
    waiting = {"score": {"slurm_partition": "spare"}}
    untrained.save_often()
    untrained.profile(jobs=3, **{"set-resources": waiting})
    untrained.start(CHECKPOINT, *RECORDS)
    holder = untrained.training(saved=True)
    queued = cluster.call("squeue", "-h", "-p", "spare", "-t", "PENDING", "-o", "%i").split()
    cluster.lose_power()
    until("the controller's silence is noticed", lambda: "does not answer" in untrained.said())
    # in its first 20 s (BatchStartTimeout) the controller does not believe a node that a job is gone
    cluster.start_slurm(boot=22)
    cluster.call("scancel", full.strip())
    untrained.finish()
    struck(untrained, cluster, holder["job"], "NODE_FAIL")
    assert [runs(untrained, cluster)[job] for job in queued] == [["COMPLETED"]] * len(RECORDS)
    resumed(untrained, prepared)
    complete(untrained, prepared)


@needs_mounts
def test_disk_full_while_training_state_is_saved(untrained, prepared, cluster):
    untrained.save_often()
    untrained.profile(retries=0)
    with untrained.small_disk("results/checkpoints", 8) as place:
        untrained.start(CHECKPOINT)
        holder = untrained.training(saved=True)
        with filled(place):
            said = untrained.wait()
            struck(untrained, cluster, holder["job"], "FAILED")
            assert "polycal: the disk is full; make room and start again" in said
        untrained.start(CHECKPOINT)
        untrained.finish()
        resumed(untrained, prepared)
