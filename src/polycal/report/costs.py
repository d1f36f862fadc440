"""The cost of a study's results, by stage."""

from collections.abc import Mapping, Sequence
from typing import Any

from polycal.audit.lineage import LineageNode
from polycal.store.stages import STAGES

SECONDS = {"wall_seconds": "wall", "cpu_seconds": "cpu", "gpu_seconds": "gpu", "queue_seconds": "queue"}
"""Keys of costs in seconds, and the names of the columns in hours."""


def costs(nodes: Sequence[LineageNode]) -> list[dict[str, Any]]:
    """One row per stage and one for ``all``: results, jobs, hours (wall, cpu, gpu, queue), peak memory (GiB).

    Hours include failed attempts. ``failed`` is the number of these attempts, and ``lost`` is their wall time
    in hours. Hours are None if unknown.
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
    rows = [_cost(stage, manifests[stage]) for stage in stages]
    everything = [manifest for of_stage in manifests.values() for manifest in of_stage]
    return [*rows, _cost("all", everything)] if rows else []


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
