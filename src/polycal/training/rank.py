"""One rank of a training on several: ``python -m polycal.training.rank JSON``, started by the launcher.

A rank has no stamp of the stage. Rank 0 therefore writes the facts of the training to a file, from which the stage
writes the manifest. An error with a sentence for the user is written there too, and the stage raises it again.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polycal import errors
from polycal.artifacts import files
from polycal.errors import PolycalError
from polycal.training.divergence import DivergenceError

PATHS = ("model", "instructions", "folder", "facts")
PATIENCE = 5.0
"""Seconds in which rank 0 can report an error that all ranks have, before another rank does."""


def command(cell: Mapping[str, Any], facts: Path, arguments: Mapping[str, Any]) -> list[str]:
    """The command line of every rank: ``arguments`` of ``training_run.train``, and where rank 0 writes the facts."""
    content = {"cell": dict(cell), "facts": facts, **arguments}
    return [sys.executable, "-m", "polycal.training.rank", json.dumps(content, default=str)]


def main() -> None:
    """Train as one rank; the launcher set RANK, WORLD_SIZE and the address of the others."""
    import torch

    from polycal.training import training_run

    arguments = json.loads(sys.argv[1])
    arguments |= {name: Path(arguments[name]) for name in PATHS}
    facts_file = arguments.pop("facts")
    try:
        facts = training_run.train(**arguments)
    except Exception as error:
        if files.is_disk_full(error):
            # rank 0 could not write it to the facts
            raise SystemExit(f"polycal: {files.disk_full_in_words(error)}") from None
        if not isinstance(error, PolycalError):
            raise
        if os.environ["RANK"] != "0":
            # the launcher kills all ranks once one has failed, and that would be before rank 0 has written
            end = time.monotonic() + PATIENCE
            while not facts_file.exists() and time.monotonic() < end:
                time.sleep(0.1)
            raise SystemExit(1 if facts_file.exists() else f"polycal: {error}") from None
        kind = {"diverged": isinstance(error, DivergenceError), "final": errors.is_final(error)}
        files.write_json(facts_file, {"error": str(error), **kind})
        raise SystemExit(1) from None
    if facts is not None:
        files.write_json(facts_file, facts)
    torch.distributed.destroy_process_group()
    # A native thread that asks for the interpreter while it is taken down aborts the process after all its work
    # ("terminate called without an active exception"): a rank ends without that.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
