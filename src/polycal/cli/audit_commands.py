"""Commands that compare results with a configuration, remove unneeded results, or trace a result back."""

import json
from pathlib import Path
from typing import Annotated

import typer

from polycal.cli import configfile as configuration
from polycal.cli.configfile import Configfile


def add_to(app: typer.Typer) -> None:
    """Add the commands status, accept, verify, prune and provenance to ``app``."""
    for command in (status, accept, verify, prune, provenance):
        app.command()(command)


def status(
    target: Annotated[
        list[str] | None,
        typer.Argument(help="Files, folders or stages; default: everything that the study needs."),
    ] = None,
    configfile: Configfile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the jobs as JSON.")] = False,
) -> None:
    """List the jobs that would run, and why."""
    from polycal.audit import expected_results, staleness, verify
    from polycal.audit.current_inputs import Manifests

    planned = expected_results.expected_results(configuration.load(configfile))
    statuses = staleness.select(staleness.statuses(planned, Manifests(), scheduled=True), target or [])
    if as_json:
        print(json.dumps(staleness.as_json(statuses), indent=1, ensure_ascii=False))
        return
    print(staleness.as_text(statuses), end="")
    if unknown := staleness.unknown_to_snakemake(statuses):
        print(
            f"Snakemake has no metadata of {unknown} existing files, so it compares only their times;"
            " run 'polycal verify --register' first"
        )
    for entry in verify.unused_acceptances():
        print(f"unused acceptance: {entry}")


def accept(
    stage: Annotated[
        str, typer.Argument(help="Stage whose present code gives the same results as an older version.")
    ],
    because: Annotated[str, typer.Option(help="Why the change of code alters no result.")],
    configfile: Configfile = None,
    old: Annotated[
        str | None, typer.Option(help="The older code version; needed if there are several.")
    ] = None,
    author: Annotated[str | None, typer.Option(help="Name of the author; default: that of git.")] = None,
) -> None:
    """Record that a change of code alters no result, so that it causes no recomputation."""
    from polycal.audit import accept as accepting
    from polycal.audit import expected_results
    from polycal.audit.current_inputs import Manifests
    from polycal.store import acceptances

    planned = expected_results.expected_results(configuration.load(configfile))
    entry = accepting.accept(stage, because, planned, Manifests(), old, author)
    print(
        f"{stage}: results of code version {entry['old']} count as results of version {entry['new']};"
        f" written to {acceptances.ACCEPTED}"
    )


def verify(
    configfile: Configfile = None,
    register: Annotated[
        bool, typer.Option("--register", help="Record metadata for Snakemake of results that lack it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the state of each result as JSON.")] = False,
) -> None:
    """Check every result of a study against its configuration. Fails unless all are current."""
    from polycal.audit import expected_results
    from polycal.audit import verify as verifying

    verified = verifying.verify(expected_results.expected_results(configuration.load(configfile)))
    if as_json:
        states = {s.result.out: {"state": s.state, "reasons": s.reasons} for s in verified.statuses}
        report = {
            "results": states,
            "foreign": verified.foreign,
            "unused_acceptances": verified.unused_acceptances,
        }
        print(json.dumps(report, indent=1, ensure_ascii=False))
    else:
        print(verifying.as_text(verified), end="")
    if register:
        print(
            f"{verifying.register(verified, configuration.files(configfile))} jobs registered with Snakemake"
        )
    if not verified.complete:
        raise typer.Exit(1)


def prune(
    configfile: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE...",
            help="Files of a study whose results are needed; repeat the option for each further study."
            " Default: all results in resources/ and results/ are needed, and unfinished training.",
        ),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove what is listed.")] = False,
) -> None:
    """List cached results, weights and training state that no study needs."""
    from polycal.audit import expected_results
    from polycal.audit import prune as pruning

    plans = [expected_results.expected_results(configuration.load([study])) for study in configfile or []]
    unneeded = pruning.find_unneeded(plans) if configfile else pruning.find_replaced()
    print(pruning.as_text(unneeded), end="")
    if remove:
        print(f"removed, {pruning.remove(unneeded) / 1e6:.1f} MB freed")


def provenance(
    file: Annotated[Path, typer.Argument(help="A table, figure, report, record or checkpoint.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole chain with all manifests as JSON.")
    ] = False,
) -> None:
    """Trace a result back to its sources and check every checksum. Fails if a link is broken."""
    from polycal.audit import lineage
    from polycal.audit.artifact_index import ArtifactIndex, LineageError

    index = ArtifactIndex(file)
    nodes = lineage.trace(index, index.owner(file))
    if as_json:
        print(json.dumps(lineage.as_json(index, nodes), indent=1, sort_keys=True, ensure_ascii=False))
    else:
        print(lineage.as_text(nodes))
    if sentence := lineage.broken(nodes):
        raise LineageError(sentence)
