"""Manifests: how a result was made.

The manifest of a checkpoint or report is a JSON file beside it. The manifest of a Parquet file is in its
metadata.
"""

import json
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from polycal.errors import PolycalError


class Stamp(Protocol):
    """Returns the run record of a result: settings, code version, inputs, machine and cost.

    A stage calls its stamp once per result, just before it writes the result, and merges the run record into
    the result's metadata. ``polycal.store`` makes stamps. Stages do not import it, so that an edit of the
    bookkeeping does not change their code version.
    """

    fingerprint: str
    """sha256 of all that determines the result: settings, code version and checksums of the inputs."""

    def __call__(self, **usage: float) -> dict[str, Any]:
        """The run record with its cost.

        ``usage`` replaces measured parts of the cost (gpus, cpu_seconds, peak_memory_bytes) if other
        processes did the work.
        """
        ...


class ManifestError(PolycalError):
    """The manifest of a file cannot be read."""


def read(path: Path) -> dict[str, Any]:
    """The manifest of a record, table or JSON file. It is empty if polycal did not write the file.

    Raises ManifestError if the file is missing or broken.
    """
    try:
        if path.suffix == ".parquet":
            return dict(json.loads((pq.read_schema(path).metadata or {}).get(b"polycal", "{}")))
        manifest = json.loads(path.read_text(encoding="utf-8"))
        return manifest if isinstance(manifest, dict) else {}
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such file.") from None
    except (pa.ArrowInvalid, OSError, ValueError) as error:
        raise ManifestError(f"{path}: broken or cut off: {' '.join(str(error).split())[:200]}") from None
