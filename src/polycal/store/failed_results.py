"""Write and find failed results: what a workflow's job writes if no further attempt could produce the result.

Failed results are not cached, so each run of the job computes again. Snakemake does not run the job again
without a reason, because its output exists.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polycal.artifacts import failures, manifests
from polycal.artifacts.failures import Failure
from polycal.store import cache as result_cache
from polycal.store.provenance import RunStamp
from polycal.store.stages import Stage


def of_inputs(stage: Stage, inputs: Mapping[str, Any]) -> Failure | None:
    """The failure of the first input that is a failed result, or None.

    It is always None for a stage that handles failed inputs itself (``Stage.reads_failed``).
    """
    if stage.reads_failed:
        return None
    for declared in stage.inputs:
        given = inputs.get(declared.name)
        for path in given if isinstance(given, list) else [given] if given else []:
            if failure := failure_at(path):
                return failure
    return None


def failure_at(path: Path) -> Failure | None:
    """The failure of a failed result; None for a result, or if the file is missing or broken."""
    manifest = manifest_at(path)
    return failures.of(manifest) if manifest else None


def manifest_at(path: Path) -> dict[str, Any] | None:
    """The manifest of the failed result at ``path``.

    None for a result, for a folder, and for a missing or broken file, which the stage reports itself.
    """
    if not path.is_file():
        return None
    try:
        manifest = manifests.read(path)
    except manifests.ManifestError:
        return None
    return manifest if failures.of(manifest) else None


def write(out: Path, stamp: RunStamp, failure: Failure, cache: Path | None) -> None:
    """Write a failed result with its run record and cost, log it beside ``cache``, and print the reason."""
    stage, cell = stamp.record["stage"], stamp.record["cell"]
    failures.write(out, stamp(), failure)
    if cache is not None:
        result_cache.log_event(cache, "failed", stage, cell, stamp.fingerprint, reason=failure.reason)
    computed = "failed" if failure.stage == stage else f"not computed, because {failure.stage} failed"
    print(f"{stage}: {computed}: {failure.reason}", flush=True)
