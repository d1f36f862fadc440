"""Every fault of docs/faults.md on a real Slurm controller, struck while a job is in the middle of its work."""


def complete(study, prepared):
    """All cells are there, equal to the undisturbed run, and none was computed twice."""
    assert study.contents() == prepared.contents
    again = {cell: count for cell, count in study.computed().items() if count > 1}
    assert not again


def struck(study, cluster, job, state):
    """What Slurm wrote of the job that the fault struck; asserts that it had begun and not finished its work."""
    found = [one for one in cluster.jobs(study.begun) if one["JobIDRaw"] == job]
    assert found
    assert found[0]["State"].split()[0] == state
    assert found[0]["Start"] != "None"
    assert not [e for e in study.events() if e["event"] == "computed" and e["job"] == job]
    return found[0]


def test_scancel_of_a_scoring_job(study, prepared, cluster):
    study.start()
    job = study.working("score")
    cluster.call("scancel", job)
    study.finish()
    struck(study, cluster, job, "CANCELLED")
    complete(study, prepared)
