"""The cost of a study."""

from pathlib import Path

import pytest

from polycal.audit.artifact_index import Artifact
from polycal.audit.lineage import LineageNode
from polycal.report.costs import costs


def test_the_cost_of_a_study_counts_failed_attempts():
    cost = {
        "wall_seconds": 10,
        "cpu_seconds": 8,
        "gpu_seconds": 10,
        "peak_memory_bytes": 1,
        "queue_seconds": None,
    }
    lost = {"attempts": {"failed": 2, "wall_seconds": 90, "gpu_seconds": 180}}
    manifests = [
        {"stage": "finetune", "fingerprint": "a", "cost": cost, **lost},
        {"stage": "score", "fingerprint": "b", "cost": cost},
    ]
    score, finetune, total = costs(
        [LineageNode(Artifact(manifest["stage"], manifest, Path())) for manifest in manifests]
    )
    assert (score["stage"], finetune["stage"], total["stage"]) == ("score", "finetune", "all")
    assert (total["failed"], total["lost"]) == (2, 90 / 3600)
    assert total["wall"] == pytest.approx(110 / 3600)
    assert total["gpu"] == pytest.approx(200 / 3600)
    assert total["cpu"] == pytest.approx(16 / 3600)
    assert total["queue"] is None
