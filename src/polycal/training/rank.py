"""One of several ranks of a training: ``python -m polycal.training.rank JSON``, started by the launcher.

A rank has no stamp, so it cannot write the manifest. Rank 0 writes the facts of the training to a file instead, and
the stage makes the manifest of them. A PolycalError is written to this file too, and the stage raises it again.
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
"""Seconds that the other ranks wait for rank 0 to report an error that all ranks have."""


def command(cell: Mapping[str, Any], facts: Path, arguments: Mapping[str, Any]) -> list[str]:
    """The command line of each rank.

    ``arguments`` are those of ``training_run.train`` beside ``cell``. ``facts`` is the file that rank 0 writes.
    """
    content = {"cell": dict(cell), "facts": facts, **arguments}
    return [sys.executable, "-m", "polycal.training.rank", json.dumps(content, default=str)]


def main() -> None:
    """Train as one rank. The launcher has set RANK, WORLD_SIZE and the address of the TCPStore."""
    import torch

    from polycal.training import training_run

    arguments = json.loads(sys.argv[1])
    arguments |= {name: Path(arguments[name]) for name in PATHS}
    facts_file = arguments.pop("facts")
    try:
        facts = training_run.train(**arguments)
    except Exception as error:
        if files.is_disk_full(error):
            # the disk may have no room for the facts either
            raise SystemExit(f"polycal: {files.disk_full_in_words(error)}") from None
        if not isinstance(error, PolycalError):
            raise
        if os.environ["RANK"] != "0":
            # The launcher kills all ranks once one of them ends with an error, so rank 0 has to write first.
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
    # During its shutdown, Python ends native threads that need the interpreter. This can abort the process although
    # all work is done ("terminate called without an active exception"). os._exit skips the shutdown.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
