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


def plan(
    configfile: Configfile = None,
    pilot: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a measured study of several seeds, whose variances say which difference this one can show."
        ),
    ] = None,
) -> None:
    """Estimate a study before it is run: jobs, GPU-hours, calendar time, memory, disk, smallest visible difference."""
    from polycal.study import cost_estimate, detectable

    config = configuration.load(configfile)
    reference = Path(paths.REFERENCE)
    chosen = pilot or (reference if (reference / detectable.VARIANCES).is_file() else None)
    found = list(detectable.lines(config, chosen)) if chosen else []
    print("\n".join([cost_estimate.table(config), *([""] if found else []), *found]))


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
    prefix: Annotated[
        str, typer.Option(help="Beginning of the names of all marks, such as 'real-' for 'real-tuning'.")
    ] = "",
) -> None:
    """Copy a study's figures and tables, with their provenance, to where readers see them first."""
    from polycal.report import publish as publishing

    for path in publishing.publish(study, out, readme, results, prefix):
        print(path)
