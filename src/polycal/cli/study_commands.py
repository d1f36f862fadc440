"""Commands about a study as a whole: its cost, the reference of the configuration, its published results."""

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
    """Estimate the jobs, GPU-hours, calendar time, memory and disk of a study before anything is submitted."""
    from polycal.study import cost_estimate

    print(cost_estimate.table(configuration.load(configfile)))


def config_docs(root: Annotated[Path, typer.Option(help="Folder of the repository.")] = Path()) -> None:
    """Write config/README.md and the JSON schemas of configurations and manifests."""
    from polycal.study import config_reference

    for path in config_reference.write(root):
        print(path)


def publish(
    study: Annotated[Path, typer.Option(help="Folder of a finished study.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path(paths.REFERENCE),
    readme: Annotated[
        Path, typer.Option(help="File with the marks between which the short table is written.")
    ] = Path("README.md"),
    results: Annotated[
        Path, typer.Option(help="File with the marks between which the findings are written.")
    ] = Path("docs/results.md"),
) -> None:
    """Copy a study's figures and tables, with their provenance, to where readers see them first."""
    from polycal.report import publish as publishing

    for path in publishing.publish(study, out, readme, results):
        print(path)
