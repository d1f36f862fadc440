"""Snakemake, the controller of the workflow: killed, interrupted, started twice, or on a slow file system."""

import signal
import subprocess
import time

import pytest
from helpers.cluster import until
from helpers.endings import complete, runs, struck
from helpers.runs import needs_mounts

pytestmark = pytest.mark.apart


def test_controller_killed_and_started_again_while_jobs_run(study, prepared, cluster):
    study.start()
    holder = study.working("score")
    study.controller.send_signal(signal.SIGKILL)
    study.controller.wait()
    assert holder["job"] in cluster.running()
    study.start()
    study.finish()
    # the job of the first controller did the work; the job of the second waited for it, or found the result
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
    said = study.wait()
    assert second.returncode == 1
    assert f"process {first.pid} on" in said
    assert "works here; wait for it, or stop it there." in said
    study.controller = first
    study.finish()
    complete(study, prepared)


@needs_mounts
def test_files_that_the_controller_sees_late(study, prepared, cluster):
    scores, seen = study.work / "results/scores", study.work.parent / "seen"
    scores.mkdir()
    seen.mkdir()
    study.profile(**{"latency-wait": 600})
    # the controller sees another folder in the place of the one to which the jobs write
    view = 'mount --bind "$0" "$1" && shift && exec "$@"'
    study.start(before=["unshare", "--mount", "sh", "-c", view, str(seen), str(scores)])
    until("both jobs ended well", lambda: list(runs(study, cluster).values()) == [["COMPLETED"]] * 2)
    until("the controller waits for files", lambda: "Waiting at most 600 seconds" in study.said())
    # longer than Snakemake's default
    time.sleep(8)
    assert study.controller.poll() is None
    subprocess.run(["cp", "-a", f"{scores}/.", seen], check=True)
    study.finish()
    assert list(runs(study, cluster).values()) == [["COMPLETED"]] * 2
    complete(study, prepared)
