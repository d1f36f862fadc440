"""The command ``polycal import``: convert the logs of another evaluation harness to score records."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Tool(StrEnum):
    """Evaluation harnesses whose logs can be imported."""

    LM_EVAL = "lm-eval"
    LIGHTEVAL = "lighteval"


def add_to(app: typer.Typer) -> None:
    """Add the command import to ``app``."""
    app.command("import")(import_logs)


def import_logs(
    tool: Annotated[Tool, typer.Argument(help="The harness that wrote the logs.")],
    folder: Annotated[
        Path, typer.Argument(help="Folder of logs, of one run or several; searched below, too.")
    ],
    out: Annotated[Path, typer.Option(help="New folder of the records.")],
    language: Annotated[str | None, typer.Option(help="Language of tasks whose names do not say it.")] = None,
    benchmark: Annotated[str | None, typer.Option(help="Benchmark that all logs belong to.")] = None,
    model: Annotated[str | None, typer.Option(help="Name of the model; default: that in the log.")] = None,
    tasks: Annotated[str, typer.Option(help="Pattern of the tasks that are imported.")] = "*",
) -> None:
    """Convert the per-question logs of lm-evaluation-harness or lighteval to score records."""
    from polycal.data.importers import score_records
    from polycal.data.importers.score_records import Names

    names = Names(model, benchmark, language)
    for path in score_records.import_logs(tool.value, folder, out, names, tasks):
        print(path)
