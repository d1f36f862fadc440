"""The cost of a study's results, by stage."""

from collections.abc import Mapping, Sequence
from typing import Any

from polycal.audit.lineage import LineageNode
from polycal.store.stages import STAGES

SECONDS = {"wall_seconds": "wall", "cpu_seconds": "cpu", "gpu_seconds": "gpu", "queue_seconds": "queue"}
"""Keys of costs in seconds, and the names of the columns in hours."""
SPEEDS = {
    "tokens_per_second": "Tokens per second",
    "mfu": "MFU",
    "padding_share": "Padding",
    "saving_share": "Saving",
}
"""Columns of speed and their titles. All but the first are shares."""


def costs(nodes: Sequence[LineageNode]) -> list[dict[str, Any]]:
    """One row per stage and one for ``all``: results, jobs, hours (wall, cpu, gpu, queue), peak memory (GiB).

    Hours include failed attempts. ``failed`` is the number of these attempts, and ``lost`` is their wall time
    in hours. Hours are None if unknown. A stage also has SPEEDS, which are those of all its trainings together, and
    None if none of its manifests has them.
    """
    manifests: dict[str, list[Mapping[str, Any]]] = {}
    seen: set[str] = set()
    for node in nodes:
        manifest = node.artifact.manifest
        # tables made by one job have the same fingerprint and cost, which must count once
        if "cost" in manifest and manifest["fingerprint"] not in seen:
            seen.add(manifest["fingerprint"])
            manifests.setdefault(node.artifact.stage, []).append(manifest)
    stages = [*(stage for stage in STAGES if stage in manifests), *sorted(set(manifests) - set(STAGES))]
    rows = [{**_cost(stage, manifests[stage]), **_speed(manifests[stage])} for stage in stages]
    everything = [manifest for of_stage in manifests.values() for manifest in of_stage]
    return [*rows, {**_cost("all", everything), **_speed([])}] if rows else []


def known_speeds(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The columns of SPEEDS that have a value in some row of ``costs``, and their titles."""
    return {key: title for key, title in SPEEDS.items() if any(row.get(key) is not None for row in rows)}


def _cost(stage: str, manifests: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    spent = [manifest["cost"] for manifest in manifests]
    failed = [manifest["attempts"] for manifest in manifests if manifest.get("attempts")]
    known = {
        name: [cost[key] for cost in [*spent, *failed] if cost.get(key) is not None]
        for key, name in SECONDS.items()
    }
    return {
        "stage": stage,
        "results": len(manifests),
        "jobs": len({manifest["job"] for manifest in manifests if manifest.get("job")}) or None,
        **{name: sum(values) / 3600 if values else None for name, values in known.items()},
        "failed": sum(attempts["failed"] for attempts in failed),
        "lost": sum(attempts["wall_seconds"] for attempts in failed) / 3600,
        "memory": max(cost["peak_memory_bytes"] for cost in spent) / 2**30,
    }


def _speed(manifests: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """The speed of all trainings together: sums of tokens and of seconds are divided by each other."""
    speeds = [manifest["speed"] for manifest in manifests if manifest.get("speed")]
    seconds = sum(speed["seconds"] for speed in speeds)
    if not seconds:
        return dict.fromkeys(SPEEDS)
    tokens = [speed["tokens_per_second"] * speed["seconds"] for speed in speeds]
    computed = sum(
        count / (1 - speed["padding_share"]) for count, speed in zip(tokens, speeds, strict=True) if count
    )
    with_saving = sum(speed["seconds"] / (1 - speed["saving_share"]) for speed in speeds)
    peaks = [(speed["mfu"], speed["seconds"]) for speed in speeds if speed["mfu"] is not None]
    return {
        "tokens_per_second": sum(tokens) / seconds,
        "mfu": sum(mfu * time for mfu, time in peaks) / sum(time for _, time in peaks) if peaks else None,
        "padding_share": 1 - sum(tokens) / computed if computed else None,
        "saving_share": 1 - seconds / with_saving,
    }
