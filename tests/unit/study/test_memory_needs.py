"""Too little memory for the jobs of a base model is said before they start."""

from helpers.studies import BASE

from polycal.study import memory_needs
from polycal.study.config_loading import merge, resolve

BOTH = [("m", "training_memory_mb"), ("m", "scoring_memory_mb")]


def test_the_job_that_needs_most_is_named_with_what_it_needs():
    config = resolve(merge(BASE, {"models": {"m": {"training_memory_mb": 9000, "scoring_memory_mb": 2000}}}))
    assert memory_needs.too_little(config, BOTH, 9_000_000_000) is None
    assert memory_needs.too_little(config, BOTH[1:], 8_000_000_000) is None
    assert memory_needs.too_little(config, BOTH, 8_000_000_000) == (
        "models.m.training_memory_mb: a job needs 9.0 GB of memory, but 8.0 GB are free on this machine; use a machine"
        " with more memory or end other programs."
    )
    assert memory_needs.too_little(config, [], 0) is None


def test_a_default_refuses_no_machine():
    assert memory_needs.too_little(resolve(BASE), BOTH, 1) is None
    extra = resolve(merge(BASE, {"models": {"m": {"scoring_memory_mb": 1}}}))
    assert "models.m.scoring_memory_mb" in str(memory_needs.too_little(extra, BOTH, 1))
