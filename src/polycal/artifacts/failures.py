"""Failed results: what a stage writes in place of a result that no further attempt could bring.

A failed result is a manifest or record with ``status: failed``. Its job succeeds, so that the rest of a study goes
on, and it is not cached. Stages that read it fail with the same reason; ``measure`` leaves it out and names it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from polycal.artifacts import files, manifests, records

FAILED = "failed"


@dataclass(frozen=True)
class Failure:
    """Why there is no result: the stage that failed first, and its sentence."""

    stage: str
    reason: str


def read(path: Path) -> Failure | None:
    """The failure that is written at ``path``; None for a result. Raises ManifestError for a broken file."""
    return of(manifests.read(path))


def of(manifest: Mapping[str, Any]) -> Failure | None:
    """The failure in a manifest; None for that of a result."""
    if manifest.get("status") != FAILED:
        return None
    return Failure(**manifest["failure"])


def content(manifest: Mapping[str, Any]) -> str:
    """The checksum by which a result that is read enters a fingerprint: that of its content, of a failed one its own
    fingerprint, which changes with what was tried."""
    return str(manifest["content" if of(manifest) is None else "fingerprint"])


def write(path: Path, run_record: Mapping[str, Any], failure: Failure) -> None:
    """Write a failed result to ``path`` atomically: a record without rows and columns, or a JSON manifest."""
    manifest = {
        **run_record,
        "status": FAILED,
        "failure": {"stage": failure.stage, "reason": failure.reason},
    }
    if path.suffix == ".parquet":
        records.write(path, pa.table({}), pa.schema([]), manifest)
    else:
        files.write_json(path, manifest)
