"""The stage ``finetune``: trains one cell on one or several ranks, and writes its manifest."""

import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polycal.artifacts import files
from polycal.artifacts.manifests import Stamp
from polycal.errors import CellError, TransientError
from polycal.training import launcher, micro_batches, rank
from polycal.training.divergence import DivergenceError


class RankError(TransientError):
    """The ranks ended without a result. The message is that of rank 0, if it wrote one."""


class RankCellError(RankError, CellError):
    """The ranks ended because the cell cannot be trained."""


def finetune(
    cell: Mapping[str, Any],
    *,
    model: Path,
    instructions: Path,
    out: Path,
    stamp: Stamp,
    zero_stage: int,
    threads: int = 1,
    ranks: int = 1,
    nodes: int = 1,
    save_minutes: float = 10.0,
) -> None:
    """Train one cell and write its manifest to ``out``, with weights and loss curve in a folder beside it.

    The training runs on ``nodes`` nodes with ``ranks`` processes each. The processes of a node share its
    ``threads`` cores. A single rank is this process; several are started as ``python -m polycal.training.rank``.
    The state is saved every ``save_minutes``, or less often if a save takes long (``polycal.training.saving``), and
    removed once the manifest is written. A run that is killed leaves either the manifest or the last saved state,
    from which the next run resumes.

    Raises BatchError before any work if the settings do not say how the global batch is cut into micro-batches, or if
    the cut does not suit the number of ranks. Raises SystemExit with TRY_AGAIN if a signal stopped the run after it
    saved its state. A single rank raises the errors of ``training_run.train``. Several ranks raise DivergenceError if
    the training diverged, RankCellError if the cell cannot be trained, RankError for any other error that rank 0
    reported or if there is no result, and otherwise SystemExit with the exit code of the ranks. They raise LaunchError
    if they cannot be started.
    """
    micro_batches.check(cell["settings"], ranks * nodes)
    folder = out.parent / stamp.fingerprint[:12]
    arguments: dict[str, Any] = {
        "model": model,
        "instructions": instructions,
        "folder": folder,
        "fingerprint": stamp.fingerprint,
        "zero_stage": zero_stage,
        "threads": max(threads // ranks, 1),
        "save_minutes": save_minutes,
    }
    if ranks * nodes == 1:
        # imported here because it imports DeepSpeed, which only a process that trains needs
        from polycal.training import training_run

        facts = training_run.train(cell, **arguments)
        assert facts is not None  # this process is rank 0
        facts.pop("usage")
        run_record = stamp()
    else:
        facts = _train_on_ranks(cell, arguments, ranks, nodes, threads)
        run_record = stamp(**facts.pop("usage"))
    files.write_json(out, {**run_record, **facts})
    # Last, so that a kill before the manifest is written leaves the state, and a later kill leaves the manifest.
    shutil.rmtree(folder / "state", ignore_errors=True)


def _train_on_ranks(
    cell: Mapping[str, Any], arguments: Mapping[str, Any], ranks: int, nodes: int, threads: int
) -> dict[str, Any]:
    """Start the ranks, wait for them, and return the facts that rank 0 wrote.

    The file of the facts has a new name in each attempt, so that the file of a killed attempt is never taken for a
    result. A killed attempt left no manifest but its state; this attempt resumes from it.
    """
    folder: Path = arguments["folder"]
    for leftover in folder.glob("facts-*.json"):
        leftover.unlink(missing_ok=True)
    facts_file = folder / f"facts-{uuid.uuid4().hex[:12]}.json"
    command = rank.command(cell, facts_file, arguments)
    try:
        code = launcher.over_nodes(command, ranks, nodes, folder.parent, threads)
        facts: dict[str, Any] = json.loads(facts_file.read_text()) if facts_file.is_file() else {}
        if "error" in facts:
            final = RankCellError if facts["final"] else RankError
            raise (DivergenceError if facts["diverged"] else final)(facts["error"])
        if code:
            raise SystemExit(code)
        if not facts:
            raise RankError(f"{facts_file}: missing although all ranks ended without an error.")
        return facts
    finally:
        facts_file.unlink(missing_ok=True)
