"""Faults during scoring: all records equal those of an undisturbed run, and none is computed twice."""

import json
import os
import signal

import pytest
from helpers.cluster import until
from helpers.endings import complete, recorded, runs, struck
from helpers.runs import CHECKPOINT, RECORDS, filled, needs_mounts

pytestmark = pytest.mark.apart


def test_scancel_of_a_scoring_job(study, prepared, cluster):
    study.start()
    job = study.working("score")["job"]
    cluster.call("scancel", job)
    study.finish()
    struck(study, cluster, job, "CANCELLED")
    complete(study, prepared)


def test_time_limit_of_a_job_that_hangs(study, prepared, cluster):
    study.start()
    holder = study.working("score")
    os.kill(holder["pid"], signal.SIGSTOP)
    cluster.call("scontrol", "update", f"JobId={holder['job']}", "EndTime=now+1")
    said = study.finish()
    struck(study, cluster, holder["job"], "TIMEOUT")
    assert "ended as TIMEOUT: its time limit passed" in said
    complete(study, prepared)


def test_node_down_while_its_job_computes_on_and_back_again(study, prepared, cluster):
    study.start()
    holder = study.working("score")
    node = holder["host"].split()[0]
    # the controller loses the node, but processes there keep running, and only their heartbeat shows it
    cluster.stop(f"slurmd-{node}", signal.SIGKILL)
    cluster.call("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost")
    computed_before = len(study.computed())
    until("the job is lost", lambda: f"Slurm job {holder['job']} ended as NODE_FAIL" in study.said())
    said = study.finish()
    # the next job waits for the lost one, which still computes
    assert "another one by now" not in said
    cluster.start_node(node)
    until("the node is back", lambda: cluster.nodes()[node] == "idle")
    lost = [one for one in cluster.jobs(study.begun) if one["JobIDRaw"] == holder["job"]]
    assert lost[0]["State"] == "NODE_FAIL"
    assert computed_before < 2
    complete(study, prepared)


@pytest.mark.parametrize("partition", ["spare", "spot"], ids=["ended", "cancelled"])
def test_preemption_of_a_scoring_job(study, prepared, cluster, partition):
    study.profile({"slurm_partition": partition})
    study.start()
    job = study.working("score")["job"]
    cluster.urgent()
    study.finish()
    struck(study, cluster, job, "PREEMPTED")
    complete(study, prepared)


def test_preemption_and_requeue_of_a_scoring_job(study, prepared, cluster):
    study.profile({"slurm_partition": "spare"}, **{"slurm-patient-no-requeue": None})
    study.start()
    job = study.working("score")["job"]
    cluster.urgent()
    # the jobs start again on another node, where processes of their first run are not visible
    for one in cluster.call("squeue", "-h", "-p", "spare", "-o", "%i").split():
        cluster.requeued(one, "Partition=cpu", "ExcNodeList=c1")
    study.finish()
    recorded(study, cluster, job, "PREEMPTED")
    assert runs(study, cluster)[job] == ["PREEMPTED", "COMPLETED"]
    assert len(runs(study, cluster)) == 2
    complete(study, prepared)


def test_a_job_killed_for_its_memory(untrained, prepared, cluster):
    untrained.give(scoring_memory_mb=300)
    untrained.start(CHECKPOINT, *RECORDS)
    said = untrained.wait()
    assert untrained.controller.returncode == 1
    ended = runs(untrained, cluster)
    # other jobs continued, and nothing was retried with the same memory
    assert sorted(ended.values()) == [["COMPLETED"], ["FAILED"], ["FAILED"]]
    for job in (one for one, states in ended.items() if states == ["FAILED"]):
        struck(untrained, cluster, job, "FAILED")
        assert f"Slurm job {job} ended as OUT_OF_MEMORY: raise its model's scoring_memory_mb" in said
    untrained.give(scoring_memory_mb=4000)
    untrained.start(CHECKPOINT, *RECORDS)
    untrained.finish()
    complete(untrained, prepared)


@pytest.mark.parametrize("together", [1, 2], ids=["in_jobs_of_their_own", "in_one_job"])
def test_a_failing_cell_and_its_neighbour(study, prepared, cluster, together):
    asked = study.work / "questions/yo.jsonl"
    whole = asked.read_text()
    long = json.loads(whole.splitlines()[0]) | {"question_id": "long", "question": "?" * 10_000}
    asked.write_text(whole + json.dumps(long) + "\n")
    study.give({"languages_per_job": together})
    study.profile(retries=0)
    study.start()
    said = study.wait()
    assert study.controller.returncode == 1
    assert "but the model's window is" in said
    # the cell has a failed result, and its job succeeds
    assert "1 result has failed and would fail again as it is" in said
    assert [state for [state] in runs(study, cluster).values()] == ["COMPLETED"] * (3 - together)
    assert [stage for stage, _ in study.computed()].count("score") == 1
    asked.write_text(whole)
    study.start()
    study.finish()
    complete(study, prepared)


@needs_mounts
def test_disk_full_while_saving(study, prepared, cluster):
    study.profile(retries=0)
    with study.small_disk("results/scores", 2) as scores:
        study.start()
        holder = study.working("score")
        with filled(scores):
            said = study.wait()
            struck(study, cluster, holder["job"], "FAILED")
            assert "polycal: the disk is full; make room and start again" in said
        assert not list(scores.rglob("*.part"))
        study.start()
        study.finish()
        complete(study, prepared)
