"""One rank of a training on several: ``python -m polycal.training.rank JSON``, started by the launcher.

A rank has no stamp of the stage. Rank 0 therefore writes the facts of the training to a file, from which the stage
writes the manifest.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polycal.artifacts import files

PATHS = ("model", "instructions", "folder", "facts")


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
    facts = training_run.train(**arguments)
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
