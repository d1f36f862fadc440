"""The cost of a study."""

from pathlib import Path

import pytest

from polycal.audit.artifact_index import Artifact
from polycal.audit.lineage import LineageNode
from polycal.report.costs import costs, known_speeds


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


def speed(seconds, tokens, padding, saving, mfu=None):
    return {
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "flops_per_second": 1.0,
        "mfu": mfu,
        "padding_share": padding,
        "saving_share": saving,
    }


def rows_of(*speeds):
    cost = {
        "wall_seconds": 1,
        "cpu_seconds": 1,
        "gpu_seconds": 0,
        "peak_memory_bytes": 1,
        "queue_seconds": None,
    }
    manifests = [
        {"stage": "finetune", "fingerprint": str(number), "cost": cost, "speed": one}
        for number, one in enumerate(speeds)
    ]
    manifests.append({"stage": "score", "fingerprint": "s", "cost": cost})
    nodes = [LineageNode(Artifact(manifest["stage"], manifest, Path())) for manifest in manifests]
    return {row["stage"]: row for row in costs(nodes)}


def test_the_speed_of_trainings_is_that_of_their_sums():
    # 300 of 500 computed tokens in 40 of 50 seconds
    rows = rows_of(speed(10, 100, 0.5, 0.5), speed(30, 200, 1 / 3, 0, mfu=0.4))
    assert rows["finetune"]["tokens_per_second"] == pytest.approx(300 / 40)
    assert rows["finetune"]["padding_share"] == pytest.approx(0.4)
    assert rows["finetune"]["saving_share"] == pytest.approx(0.2)
    assert rows["finetune"]["mfu"] == pytest.approx(0.4)
    assert rows["score"]["tokens_per_second"] is rows["all"]["tokens_per_second"] is None


@pytest.mark.parametrize(
    ("speeds", "columns"),
    [
        ([], []),
        ([None], []),
        ([speed(10, 100, 0, 0)], ["tokens_per_second", "padding_share", "saving_share"]),
        ([speed(10, 100, 0, 0, 0.3)], ["tokens_per_second", "mfu", "padding_share", "saving_share"]),
    ],
)
def test_a_column_of_speed_is_shown_only_if_it_has_a_value(speeds, columns):
    assert list(known_speeds(list(rows_of(*speeds).values()))) == columns
