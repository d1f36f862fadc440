"""Faults that strike training: it goes on from its state and ends in the bits of an undisturbed run."""

import pytest
from endings import resumed, struck
from runs import CHECKPOINT


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
    cluster.urgent()
    untrained.finish()
    struck(untrained, cluster, job, "PREEMPTED")
    resumed(untrained, prepared)
