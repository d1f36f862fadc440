"""The workflow's controller killed, interrupted, started twice, and shown files late."""

import signal

from endings import complete, struck


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
