"""What a struck study must end with, and how to tell from Slurm's own records that it was struck."""

from helpers.cluster import until


def complete(study, prepared):
    """All cells are there, equal to the undisturbed run, and none was computed twice."""
    assert study.contents() == prepared.contents
    assert set(study.computed().values()) == {1}


def resumed(study, prepared):
    """The checkpoint is there, went on from a state, has the bits of the undisturbed run, and was computed once."""
    made = study.trained()
    assert 0 < made["resumed_at"] < made["steps"]
    assert made["content"] == prepared.trained["content"]
    assert set(study.computed().values()) == {1}


def recorded(study, cluster, job, state):
    """Slurm's record of a run of the job that ended in this state; it had begun."""

    def found():
        return [one for one in cluster.jobs(study.begun) if one["JobIDRaw"] == job and state in one["State"]]

    first = until(f"accounting calls job {job} {state}", found, why=lambda: str(cluster.jobs(study.begun)))[0]
    assert first["Start"] != "None"
    return first


def struck(study, cluster, job, state):
    """The job had begun, ended in this state, and computed nothing."""
    recorded(study, cluster, job, state)
    assert not [e for e in study.events() if e["event"] == "computed" and e["job"] == job]


def runs(study, cluster):
    """The states of all runs of the workflow's own jobs, as Slurm's accounting has them, by job."""
    found: dict[str, list[str]] = {}
    for one in cluster.jobs(study.begun):
        if one["Comment"].startswith("rule_"):
            found.setdefault(one["JobIDRaw"], []).append(one["State"].split()[0])
    return found
