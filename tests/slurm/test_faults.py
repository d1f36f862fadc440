"""Every fault of docs/faults.md on a real Slurm controller, struck while a job is in the middle of its work."""

import contextlib
import os
import signal
import subprocess

import pytest
from cluster import until
from runs import CHECKPOINT


def complete(study, prepared):
    """All cells are there, equal to the undisturbed run, and none was computed twice."""
    assert study.contents() == prepared.contents
    assert set(study.computed().values()) == {1}


def struck(study, cluster, job, state):
    """What Slurm wrote of the job that the fault struck; it had begun, and it computed nothing."""

    def found():
        return [one for one in cluster.jobs(study.begun) if one["JobIDRaw"] == job and state in one["State"]]

    first = until(
        f"accounting calls job {job} {state}", found, 30, why=lambda: str(cluster.jobs(study.begun))
    )[0]
    assert first["Start"] != "None"
    assert not [e for e in study.events() if e["event"] == "computed" and e["job"] == job]


def resumed(study, prepared):
    """The checkpoint is there, went on from a state, has the bits of the undisturbed run, and was computed once."""
    made = study.trained()
    assert 0 < made["resumed_at"] < made["steps"]
    assert made["content"] == prepared.trained["content"]
    assert sorted(study.computed().values()) == [1]


def test_scancel_of_a_training_job(untrained, prepared, cluster):
    untrained.start(CHECKPOINT)
    job = untrained.training()["job"]
    cluster.call("scancel", job)
    untrained.finish()
    struck(untrained, cluster, job, "CANCELLED")
    resumed(untrained, prepared)


def test_time_limit_of_a_training_job(untrained, prepared, cluster):
    untrained.start(CHECKPOINT)
    job = untrained.training()["job"]
    # the warning signal comes five minutes before the limit
    cluster.call("scontrol", "update", f"JobId={job}", "EndTime=now+200")
    untrained.finish()
    struck(untrained, cluster, job, "FAILED")
    resumed(untrained, prepared)


@pytest.mark.parametrize("partition", ["spare", "spot"], ids=["ended", "cancelled"])
def test_preemption_of_a_training_job(untrained, prepared, cluster, partition):
    untrained.profile({"slurm_partition": partition})
    untrained.start(CHECKPOINT)
    job = untrained.training()["job"]
    cluster.call("sbatch", "-p", "urgent", "-c", "8", "-o", "/dev/null", "--wrap", "sleep 5")
    untrained.finish()
    struck(untrained, cluster, job, "PREEMPTED")
    resumed(untrained, prepared)


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
    node = holder["place"].split()[0]
    # the controller loses the node; what runs there runs on, and only its heartbeat shows that
    cluster.stop(f"slurmd-{node}", signal.SIGKILL)
    cluster.call("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost")
    computed_before = len(study.computed())
    until("the job is lost", lambda: f"Slurm job {holder['job']} ended as NODE_FAIL" in study.said(), 60)
    study.finish()
    cluster.start_node(node)
    cluster.call("scontrol", "update", f"NodeName={node}", "State=RESUME")
    until("the node is back", lambda: cluster.nodes()[node] == "idle", 60)
    lost = [one for one in cluster.jobs(study.begun) if one["JobIDRaw"] == holder["job"]]
    assert lost[0]["State"] == "NODE_FAIL"
    assert computed_before < 2
    complete(study, prepared)


@pytest.mark.parametrize("partition", ["spare", "spot"], ids=["ended", "cancelled"])
def test_preemption_of_a_scoring_job(study, prepared, cluster, partition):
    study.profile({"slurm_partition": partition})
    study.start()
    job = study.working("score")["job"]
    cluster.call("sbatch", "-p", "urgent", "-c", "8", "-o", "/dev/null", "--wrap", "sleep 5")
    study.finish()
    struck(study, cluster, job, "PREEMPTED")
    complete(study, prepared)


def test_controller_killed_and_started_again_while_jobs_run(study, prepared, cluster):
    study.start()
    holder = study.working("score")
    study.controller.send_signal(signal.SIGKILL)
    study.controller.wait()
    assert holder["job"] in cluster.running()
    study.start()
    study.finish()
    # the first controller's job did the work, the second's waited for it or found it done
    made = {event["job"] for event in study.events() if event["event"] == "computed"}
    assert holder["job"] in made
    complete(study, prepared)


def test_controller_interrupted_and_started_again(study, prepared, cluster):
    study.start()
    job = study.working("score")["job"]
    study.controller.send_signal(signal.SIGINT)
    study.wait()
    struck(study, cluster, job, "CANCELLED")
    study.start()
    study.finish()
    complete(study, prepared)


def test_two_controllers_in_one_folder(study, prepared, cluster):
    first = study.start()
    study.working("score")
    second = study.start()
    said = study.wait(60)
    assert second.returncode == 1
    assert f"process {first.pid} on" in said
    assert "works here; wait for it, or stop it there." in said
    study.controller = first
    study.finish()
    complete(study, prepared)


needs_mounts = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@needs_mounts
def test_disk_full_while_saving(study, prepared, cluster):
    scores = study.work / "results/scores"
    scores.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", scores], check=True)
    try:
        study.profile(retries=0)
        study.start()
        holder = study.working("score")
        filler = os.open(scores / "filler", os.O_CREAT | os.O_WRONLY)
        with contextlib.suppress(OSError):
            while os.write(filler, bytes(4096)):
                pass
        os.close(filler)
        said = study.wait()
        struck(study, cluster, holder["job"], "FAILED")
        assert "polycal: the disk is full; make room and start again" in said
        (scores / "filler").unlink()
        assert not list(scores.rglob("*.part"))
        study.start()
        study.finish()
        complete(study, prepared)
    finally:
        study.end()
        subprocess.run(["umount", scores], check=True)
