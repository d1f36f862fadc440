"""The configuration that a command is about, read as Snakemake reads it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from polycal.study.config import Config

BASE = (Path("config/languages.yaml"), Path("config/config.yaml"))

Configfile = Annotated[
    list[Path] | None,
    typer.Option(help="Overlay on the paper's grid, as for snakemake; may be repeated."),
]


def load(overlays: list[Path] | None) -> "Config":
    """The paper's grid, where it lies below the working directory, with the overlays on top."""
    from polycal.study import config_loading

    return config_loading.load([*(path for path in BASE if path.exists() or not overlays), *(overlays or [])])
