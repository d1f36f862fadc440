"""Failed results: what a stage writes instead of a result that no further attempt could produce.

A failed result is a manifest or record with ``status: failed``. Its job succeeds, so that the rest of the
study continues. It is not cached. A stage that needs this result fails with the same reason. A stage that
compares many results, such as ``select_lr`` or ``measure``, leaves it out and lists it.
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
    """Why there is no result: the stage that failed first, and its error message."""

    stage: str
    reason: str


def read(path: Path) -> Failure | None:
    """The failure in the manifest or record at ``path``, or None if it is a result.

    Raises ManifestError if the file is missing or broken.
    """
    return of(manifests.read(path))


def of(manifest: Mapping[str, Any]) -> Failure | None:
    """The failure in a manifest, or None if it is the manifest of a result."""
    if manifest.get("status") != FAILED:
        return None
    return Failure(**manifest["failure"])


def content(manifest: Mapping[str, Any]) -> str:
    """The checksum that represents this result, as an input, in the fingerprint of another result.

    For a result it is the checksum of the content. A failed result has no content. Its own fingerprint is
    used, which changes if its settings, code or inputs change.
    """
    return str(manifest["content" if of(manifest) is None else "fingerprint"])


def write(path: Path, run_record: Mapping[str, Any], failure: Failure) -> None:
    """Write a failed result atomically: a record without rows and columns if ``path`` is Parquet, else JSON."""
    manifest = {
        **run_record,
        "status": FAILED,
        "failure": {"stage": failure.stage, "reason": failure.reason},
    }
    if path.suffix == ".parquet":
        records.write(path, pa.table({}), pa.schema([]), manifest)
    else:
        files.write_json(path, manifest)
