"""What Snakemake knows of a result: the inputs of the job that made it, from ``.snakemake/metadata``.

Without an entry there it goes by file times; with one it plans a job again whose inputs are others than then.
"""

import json
import os
from base64 import urlsafe_b64encode
from pathlib import Path

METADATA = Path(".snakemake/metadata")


def inputs(path: str) -> set[str] | None:
    """The inputs of the job that made ``path`` as Snakemake recorded them; None where it knows nothing of it."""
    if not METADATA.is_dir():
        return None
    name = urlsafe_b64encode(path.encode()).decode()
    # a name too long for the file system is cut into folders, whose names start with @
    size = os.pathconf(METADATA, "PC_NAME_MAX") - 1
    parts = [name[at : at + size] for at in range(0, len(name), size)]
    try:
        known = json.loads(METADATA.joinpath(*(f"@{part}" for part in parts[:-1]), parts[-1]).read_text())
        return None if known.get("incomplete") else set(known["input"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
