"""Events while a study runs: edited code, a limit on jobs, a held job, a deleted folder and a full disk."""

import os
import shutil
import signal
import time

import pytest
from helpers.cluster import until
from helpers.endings import complete, runs
from helpers.runs import RECORDS, filled, needs_mounts

pytestmark = pytest.mark.apart

MODULE = "src/polycal/scoring/multiple_choice.py"


def edit(study):
    """Edit the code of scoring without changing its numbers. Returns a function that undoes the edit."""
    path = study.code / MODULE
    before = path.read_text()
    path.write_text(before + '\nADDED = "a line that changes no number"\n')
    return lambda: path.write_text(before)


def suspended(study):
    """The holder of the lock of a scoring job. Its process is stopped, because it would end within seconds."""
    holder = study.working("score")
    os.kill(holder["pid"], signal.SIGSTOP)
    return holder


def test_code_edited_while_a_study_runs(study, prepared, cluster):
    study.profile(jobs=1)
    study.start()
    holder = study.working("score")
    # the record of an attempt is written after the code is loaded
    until(
        "the code is loaded", lambda: list(study.work.glob("results/.attempts/*/*.json")), 600, why=study.logs
    )
    restore = edit(study)
    said = study.wait()
    assert study.controller.returncode == 1
    # the first job had loaded its code before the edit; the second is not retried
    assert "score: planned with code version" in said
    assert sorted(runs(study, cluster).values()) == [["COMPLETED"], ["FAILED"]]
    assert {event["job"] for event in study.events() if event["event"] == "computed"} == {holder["job"]}
    restore()
    study.start()
    study.finish()
    complete(study, prepared)


def test_code_edited_while_a_job_waits_for_a_lock(study, prepared, cluster):
    study.start(RECORDS[0])
    holder = suspended(study)
    study.controller.send_signal(signal.SIGKILL)
    study.controller.wait()
    # on another node only Slurm can say that the first job lives: its heartbeat has stopped
    study.profile({"slurm_extra": f"'--exclude={holder['host'].split()[0]}'"})
    study.start(RECORDS[0])
    until("the second job waits", lambda: "waiting for it" in study.logs(), 600, why=study.logs)
    time.sleep(20)  # longer than the time after which a lock without heartbeat is stale
    assert "took over" not in study.logs()
    restore = edit(study)
    cluster.call("scancel", holder["job"])
    said = study.wait()
    assert study.controller.returncode == 1
    assert "score: the code was edited after this job began" in said
    assert not study.computed()
    restore()
    study.start()
    study.finish()
    complete(study, prepared)


def test_a_limit_on_submitted_jobs(study, prepared, cluster):
    limit = ("sacctmgr", "-i", "modify", "user", cluster.user, "set")
    cluster.call(*limit, "MaxSubmitJobs=1")
    try:
        study.start()
        until(
            "the limit is named",
            lambda: "Slurm takes no job now (AssocMaxSubmitJobLimit)" in study.said(),
            600,
        )
        study.finish()
    finally:
        cluster.call(*limit, "MaxSubmitJobs=-1")
    assert list(runs(study, cluster).values()) == [["COMPLETED"]] * 2
    complete(study, prepared)


def test_a_job_that_is_requeued_and_held(study, prepared, cluster):
    study.profile(**{"slurm-patient-no-requeue": None})
    study.start()
    job = study.working("score")["job"]
    cluster.call("scontrol", "requeuehold", job)
    until(
        "it is said", lambda: f"'scontrol release {job}' lets it start" in study.said(), 600, why=study.said
    )
    cluster.call("scontrol", "release", job)
    cluster.requeued(job)
    study.finish()
    assert len(runs(study, cluster)) == 2
    complete(study, prepared)


def test_snakemakes_folder_deleted_while_jobs_wait_in_the_queue(study, prepared, cluster):
    full = cluster.call(
        "sbatch", "--parsable", "-p", "cpu", "-c", "8", "-N", "2", "-o", "/dev/null", "--wrap", "sleep 600"
    )
    study.start()
    until(
        "both jobs are queued",
        lambda: len(cluster.call("squeue", "-h", "-t", "PENDING", "-o", "%i").split()) >= 2,
        600,
    )
    shutil.rmtree(study.work / ".snakemake")
    cluster.call("scancel", full.strip())
    study.finish()
    complete(study, prepared)


@needs_mounts
def test_no_room_for_temporary_files(study, prepared, cluster):
    with study.small_disk("tmp", 2) as place:
        study.variables["TMPDIR"] = str(place)
        with filled(place):
            study.start()
            study.finish()
    complete(study, prepared)
