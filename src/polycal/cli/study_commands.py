"""The commands about a study as a whole: its cost, its configuration reference, its published results."""

from pathlib import Path
from typing import Annotated

import typer

from polycal.cli import configfile as configuration
from polycal.cli.configfile import Configfile
from polycal.study import paths


def add_to(app: typer.Typer) -> None:
    """Add plan, config-docs and publish."""
    app.command()(plan)
    app.command("config-docs")(config_docs)
    app.command()(publish)


def plan(configfile: Configfile = None) -> None:
    """Jobs, GPU-hours, memory and disk of a study, from stated assumptions, before anything is submitted."""
    from polycal.study import cost_estimate

    print(cost_estimate.table(configuration.load(configfile)))


def config_docs(root: Annotated[Path, typer.Option(help="The repository.")] = Path()) -> None:
    """Write the reference and JSON schema of the configuration, and the schema of manifests."""
    from polycal.study import config_reference

    for path in config_reference.write(root):
        print(path)


def publish(
    study: Annotated[Path, typer.Option(help="Folder of a finished study.")],
    out: Annotated[Path, typer.Option(help="Folder to publish to.")] = Path(paths.REFERENCE),
    readme: Annotated[Path, typer.Option(help="File with the marks for the short table.")] = Path(
        "README.md"
    ),
    results: Annotated[Path, typer.Option(help="File with the marks for the findings.")] = Path(
        "docs/results.md"
    ),
) -> None:
    """Copy a study's figures and tables to where readers see them first, with their provenance."""
    from polycal.report import publish as publishing

    for path in publishing.publish(study, out, readme, results):
        print(path)
