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
    gpus: Annotated[
        int | None,
        typer.Option(min=1, help="GPUs that the study may use at once: how many jobs run, when it is done."),
    ] = None,
    hours: Annotated[
        float | None, typer.Option(min=0.1, help="Time limit of a job on the cluster, in hours.")
    ] = None,
) -> None:
    """Estimate a study and what is left of it: jobs, GPU-hours, days, memory, disk, smallest visible difference.

    The time comes from jobs of the study that are finished. Elsewhere it comes from the share of a GPU's peak that
    ``make bench-gpu`` measured, or from stated assumptions.
    """
    from polycal.study import cost_table, detectable, finished_jobs, gpu_benchmark

    config = configuration.load(configfile)
    reference = Path(paths.REFERENCE)
    chosen = pilot or (reference if (reference / detectable.VARIANCES).is_file() else None)
    found = list(detectable.lines(config, chosen)) if chosen else []
    text = cost_table.table(config, finished_jobs.read(config), gpus, hours, gpu_benchmark.read())
    print("\n".join([text, *([""] if found else []), *found]))


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
