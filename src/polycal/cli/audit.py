"""The commands that compute no result: what a study would take, what would run and why, what stands, what is waste."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from polycal.study.config import Config

app = typer.Typer()

BASE = (Path("config/languages.yaml"), Path("config/config.yaml"))

Configfile = Annotated[
    list[Path] | None,
    typer.Option(help="Overlay on the paper's grid, as for snakemake; may be repeated."),
]


def _config(overlays: list[Path] | None) -> "Config":
    """What Snakemake would read here: the paper's grid where it lies below, and the overlays."""
    from polycal.study import config

    return config.load([*(path for path in BASE if path.exists() or not overlays), *(overlays or [])])


@app.command()
def why(
    target: Annotated[
        list[str] | None, typer.Argument(help="File, folder or stage; default: all that the study asks for.")
    ] = None,
    configfile: Configfile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the jobs as JSON.")] = False,
) -> None:
    """Which jobs would run for a target, and why, in words."""
    from polycal.audit import expected_results, staleness
    from polycal.audit import verify as verification

    planned = expected_results.tasks(_config(configfile))
    found = staleness.chosen(staleness.judge(planned, expected_results.Notes(), scheduled=True), target or [])
    if as_json:
        print(json.dumps(staleness.plain(found), indent=1, ensure_ascii=False))
        return
    print(staleness.text(found), end="")
    if strange := staleness.unknown(found):
        print(
            f"Snakemake knows nothing of {strange} files that are there and goes by their times alone:"
            " run 'polycal verify --register' first"
        )
    for entry in verification.idle():
        print(f"acceptance without effect: {entry}")


@app.command()
def accept(
    stage: Annotated[
        str, typer.Argument(help="Stage whose present version gives the results of an older one.")
    ],
    because: Annotated[str, typer.Option(help="Why the change alters no result.")],
    configfile: Configfile = None,
    old: Annotated[str | None, typer.Option(help="The older version, where there are several.")] = None,
    author: Annotated[str | None, typer.Option(help="Who says so; default: git's user.")] = None,
) -> None:
    """Record that a change of code alters no result, so that nothing is computed again for it."""
    from polycal.audit import accept as acceptance
    from polycal.audit import expected_results
    from polycal.store import code_versions

    planned, notes = expected_results.tasks(_config(configfile)), expected_results.Notes()
    entry = acceptance.accept(stage, because, planned, notes, old, author)
    print(
        f"{stage}: results of version {entry['old']} stand for {entry['new']}; written to {code_versions.ACCEPTED}"
    )


@app.command()
def verify(
    configfile: Configfile = None,
    register: Annotated[
        bool, typer.Option("--register", help="Let Snakemake know results that came without its metadata.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print every result and its state as JSON.")
    ] = False,
) -> None:
    """Hold every record and checkpoint against the plan, cell by cell; fails unless all are current."""
    from polycal.audit import expected_results
    from polycal.audit import verify as verification

    found = verification.verify(expected_results.tasks(_config(configfile)))
    if as_json:
        states = {f.task.out: {"state": f.state, "reasons": f.reasons} for f in found.findings}
        told = {"results": states, "foreign": found.foreign, "acceptances_without_effect": found.idle}
        print(json.dumps(told, indent=1, ensure_ascii=False))
    else:
        print(verification.text(found), end="")
    if register:
        print(f"{verification.register(found, configfile or [])} jobs registered with Snakemake")
    if not found.whole:
        raise typer.Exit(1)


@app.command()
def prune(
    study: Annotated[
        list[str] | None,
        typer.Option(
            help="A study whose work is needed: its overlays, separated by commas; may be repeated."
        ),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove what is listed.")] = False,
) -> None:
    """List kept work, weights and training state that no study needs; by default the paper's grid is the study."""
    from polycal.audit import expected_results
    from polycal.audit import prune as pruning

    plans = [[Path(file) for file in one.split(",")] for one in study or []] or [[]]
    found = pruning.waste([expected_results.tasks(_config(overlays)) for overlays in plans])
    print(pruning.text(found), end="")
    if remove:
        print(f"removed, {pruning.remove(found) / 1e6:.1f} MB freed")


@app.command()
def plan(configfile: Configfile = None) -> None:
    """Jobs, GPU-hours, memory and disk of a study, from stated assumptions, before anything is submitted."""
    from polycal.study import cost_estimate

    print(cost_estimate.table(_config(configfile)))


@app.command()
def reference(root: Annotated[Path, typer.Option(help="The repository.")] = Path()) -> None:
    """Write the configuration's reference and JSON schema from the models that check it."""
    from polycal.study import config_reference as generated

    for path in generated.write(root):
        print(path)
