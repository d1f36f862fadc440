"""The command ``polycal export``: write the cells of a study as files for other programs."""

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Add the command export to ``app``."""
    app.command()(export)


def export(
    study: Annotated[Path, typer.Argument(help="Folder of a measured study.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
) -> None:
    """Export a study's cells as csv and parquet with a data dictionary, and a model-card section per checkpoint."""
    from polycal.report import export as exporting

    for path in exporting.export(study, out):
        print(path)
