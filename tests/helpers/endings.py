"""What a study must end with after a fault, and checks in Slurm's own records that the fault happened."""

from helpers.cluster import until


def complete(study, prepared):
    """Assert that all records equal those of an undisturbed run, and that none was computed twice."""
    assert study.contents() == prepared.contents
    assert set(study.computed().values()) == {1}, study.said() + study.logs()


def resumed(study, prepared):
    """Assert that the training resumed from a saved state and computed its checkpoint once.

    The checkpoint must be bit for bit that of an undisturbed run.
    """
    made = study.trained()
    assert 0 < made["resumed_at"] < made["steps"]
    assert made["content"] == prepared.trained["content"]
    assert set(study.computed().values()) == {1}, study.said() + study.logs()


def recorded(study, cluster, job, state):
    """Slurm's record of a run of ``job`` that ended in ``state``. Asserts that the run had started."""

    def found():
        return [one for one in cluster.jobs(study.begun) if one["JobIDRaw"] == job and state in one["State"]]

    first = until(f"accounting calls job {job} {state}", found, why=lambda: str(cluster.jobs(study.begun)))[0]
    assert first["Start"] != "None"
    return first


def struck(study, cluster, job, state):
    """Assert that ``job`` started, ended in ``state`` and computed nothing."""
    recorded(study, cluster, job, state)
    assert not [e for e in study.events() if e["event"] == "computed" and e["job"] == job]


def runs(study, cluster):
    """Job id → states of all its runs in Slurm's accounting, for the jobs of the workflow."""
    found: dict[str, list[str]] = {}
    for one in cluster.jobs(study.begun):
        if one["Comment"].startswith("rule_"):
            found.setdefault(one["JobIDRaw"], []).append(one["State"].split()[0])
    return found
