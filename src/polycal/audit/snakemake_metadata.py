"""Read from ``.snakemake/metadata`` which inputs the job had that made a result.

If there is an entry, Snakemake reruns a job whose set of inputs has changed. Without an entry it compares
only file times.
"""

import json
import os
from base64 import urlsafe_b64encode
from pathlib import Path

METADATA = Path(".snakemake/metadata")


def inputs(path: str) -> set[str] | None:
    """The recorded inputs of the job that made ``path``; None if there is no complete entry."""
    if not METADATA.is_dir():
        return None
    name = urlsafe_b64encode(path.encode()).decode()
    # Snakemake splits a name that is too long for the file system into folders whose names start with @.
    size = os.pathconf(METADATA, "PC_NAME_MAX") - 1
    parts = [name[at : at + size] for at in range(0, len(name), size)]
    try:
        known = json.loads(METADATA.joinpath(*(f"@{part}" for part in parts[:-1]), parts[-1]).read_text())
        return None if known.get("incomplete") else set(known["input"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
