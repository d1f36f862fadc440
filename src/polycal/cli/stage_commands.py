"""A command per stage, generated from the registry: what the rules of the workflow call."""

import inspect
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from polycal.errors import PolycalError
from polycal.store.run import Job, run
from polycal.store.stages import STAGES, Input, Option, Stage, load

Code = Annotated[str | None, typer.Option(help="Code version that the job was planned with; default: any.")]
CacheDir = Annotated[Path | None, typer.Option(help="Folder of cached results; default: no cache.")]
Partial = Annotated[bool, typer.Option(help="Take the inputs that exist; the tables name the missing ones.")]


class UsageError(PolycalError):
    """Arguments that do not fit together; the message says which."""


def add_to(app: typer.Typer, without: Collection[str]) -> None:
    """Add a command for each stage whose command is not in ``without``."""
    for stage in STAGES.values():
        if stage.command not in without:
            app.command(stage.command, help=stage.help)(_command(stage))


def _command(stage: Stage) -> Callable[..., None]:
    """A function with the signature that Typer turns into the options of a stage."""

    def command(**given: Any) -> None:
        run(job(stage, given))

    parameters = _parameters(stage)
    command.__name__ = stage.name
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _parameters(stage: Stage) -> list[inspect.Parameter]:
    help_of_cell = (
        "JSON list: all that determines each result."
        if stage.per_language
        else ("JSON of all that determines the result.")
    )
    out = "Folder of the tables." if stage.tables_of_cell else f"File to write ({stage.output})."
    annotated: dict[str, tuple[Any, Any]] = {
        "cells" if stage.per_language else "cell": (Annotated[str, typer.Option(help=help_of_cell)], None),
        **{one.name: _input(one) for one in stage.inputs if not one.paths_of_cell},
        "out": (Annotated[list[Path] if stage.per_language else Path, typer.Option(help=out)], None),
        "code": (Code, ...),
        "cache_dir": (CacheDir, ...),
        **{one.name: _option(one) for one in stage.options},
    }
    if stage.partial:
        annotated["partial"] = (Partial, False)
    required: list[inspect.Parameter] = []
    defaults: list[inspect.Parameter] = []
    for name, (annotation, default) in annotated.items():
        needed = default is None and name not in {one.name for one in stage.options}
        value = inspect.Parameter.empty if needed else (None if default is ... else default)
        (required if needed else defaults).append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=annotation)
        )
    return required + defaults


def _input(declared: Input) -> tuple[Any, Any]:
    kind: Any = list[Path] if declared.many else Path
    annotation: Any = Annotated[kind | None if declared.optional else kind, typer.Option(help=declared.help)]
    return annotation, ... if declared.optional else None


def _option(declared: Option) -> tuple[Any, Any]:
    kind: Any = declared.kind if declared.default is not None else declared.kind | None
    limits = typer.Option(
        min=declared.minimum, max=declared.maximum, envvar=declared.environment, help=declared.help
    )
    return Annotated[kind, limits], declared.default


def job(stage: Stage, given: Mapping[str, Any]) -> Job:
    """The job that the options of a stage's command describe.

    Raises UsageError where the numbers of cells, outputs and files per cell differ, or where no input is given.
    """
    cells = parse(given["cells"], "--cells") if stage.per_language else [parse(given["cell"], "--cell")]
    out = given["out"] if stage.per_language else [given["out"]]
    _check_cells(stage, cells)
    inputs: dict[str, Any] = {}
    missing: Sequence[Path] = ()
    for declared in stage.inputs:
        if declared.paths_of_cell:
            paths = load(declared.paths_of_cell)(cells[0])
            if stage.partial and given["partial"]:
                missing = [path for path in paths if not path.exists()]
                paths = [path for path in paths if path.exists()]
            inputs[declared.name] = paths
        elif given[declared.name] is not None or not declared.optional:
            inputs[declared.name] = given[declared.name]
    if stage.per_language:
        per_cell = {name: len(paths) for name, paths in inputs.items() if isinstance(paths, list)}
        if set(per_cell.values()) | {len(out)} != {len(cells)}:
            counts = ", ".join(f"{number} --{name}" for name, number in per_cell.items())
            raise UsageError(f"{len(cells)} cells, {len(out)} --out, {counts}; give one of each per cell.")
    options = {declared.name: given[declared.name] for declared in stage.options}
    return Job(stage, cells, inputs, out, given["cache_dir"], given["code"], options, missing)


def _check_cells(stage: Stage, cells: Any) -> None:
    """Raise UsageError where the cells of a job are not those of its stage."""
    option = "--cells" if stage.per_language else "--cell"
    is_list = isinstance(cells, list) and all(isinstance(cell, dict) for cell in cells)
    if not is_list or any(cell.get("stage", stage.name) != stage.name for cell in cells):
        raise UsageError(f"{option}: must hold JSON objects, those of the stage {stage.name!r}.")


def parse(text: str, option: str) -> Any:
    """A JSON value of the command line. Raises UsageError where it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{option}: not JSON: {error}.") from None
