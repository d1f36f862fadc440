"""The command of each stage, generated from the registry of stages. The rules of the workflow call them."""

import inspect
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from polycal.errors import PolycalError
from polycal.store.run import Job, run
from polycal.store.stages import STAGES, Input, Option, Stage, load

Code = Annotated[str | None, typer.Option(help="Code version with which the job was planned; default: any.")]
CacheDir = Annotated[Path | None, typer.Option(help="Folder of cached results; default: no cache.")]
Partial = Annotated[bool, typer.Option(help="Use the inputs that exist; the tables list the missing ones.")]

REQUIRED = inspect.Parameter.empty
"""Default of a parameter that has to be given."""


class UsageError(PolycalError):
    """Wrong or contradictory options. The message names them."""


def add_to(app: typer.Typer, without: Collection[str]) -> None:
    """Add a command for each stage whose command is not in ``without``."""
    for stage in STAGES.values():
        if stage.command not in without:
            app.command(stage.command, help=stage.help)(_command(stage))


def _command(stage: Stage) -> Callable[..., None]:
    """A function whose signature Typer turns into the options of the stage's command."""

    def command(**given: Any) -> None:
        run(job(stage, given))

    parameters = _parameters(stage)
    command.__name__ = stage.name
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _parameters(stage: Stage) -> list[inspect.Parameter]:
    """The parameters of a stage's command, required ones first."""
    out_type: Any = list[Path] if stage.per_language else Path
    if stage.per_language:
        cell, cell_help = "cells", "JSON list of cells: all settings of each result."
    else:
        cell, cell_help = "cell", "JSON of the cell: all settings of the result."
    out_help = "Folder of the tables." if stage.tables_of_cell else f"File to write ({stage.output})."
    declared: dict[str, tuple[Any, Any]] = {
        cell: (Annotated[str, typer.Option(help=cell_help)], REQUIRED),
        **{entry.name: _input(entry) for entry in stage.inputs if not entry.paths_of_cell},
        "out": (Annotated[out_type, typer.Option(help=out_help)], REQUIRED),
        "code": (Code, None),
        "cache_dir": (CacheDir, None),
        **{entry.name: _option(entry) for entry in stage.options},
        **({"partial": (Partial, False)} if stage.partial else {}),
    }
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in declared.items()
    ]
    return sorted(parameters, key=lambda parameter: parameter.default is not REQUIRED)


def _input(declared: Input) -> tuple[Any, Any]:
    kind: Any = list[Path] if declared.many else Path
    annotation: Any = Annotated[kind | None if declared.optional else kind, typer.Option(help=declared.help)]
    return annotation, None if declared.optional else REQUIRED


def _option(declared: Option) -> tuple[Any, Any]:
    kind: Any = declared.kind if declared.default is not None else declared.kind | None
    minimum = None if declared.kind is Path else declared.minimum
    limits = typer.Option(min=minimum, max=declared.maximum, envvar=declared.environment, help=declared.help)
    return Annotated[kind, limits], declared.default


def job(stage: Stage, given: Mapping[str, Any]) -> Job:
    """The job of a stage, from the options of its command.

    Raises UsageError if a cell is not valid JSON or belongs to another stage, or if the numbers of cells, outputs and
    files per cell differ.
    """
    cells = parse(given["cells"], "--cells") if stage.per_language else [parse(given["cell"], "--cell")]
    out = given["out"] if stage.per_language else [given["out"]]
    _check_cells(stage, cells)
    inputs: dict[str, Any] = {}
    missing: list[Path] = []
    for declared in stage.inputs:
        if declared.paths_of_cell:
            paths = load(declared.paths_of_cell)(cells[0])
            if stage.partial and given["partial"]:
                missing += [path for path in paths if not path.exists()]
                paths = [path for path in paths if path.exists()]
            inputs[declared.name] = paths
        elif given[declared.name] is not None or not declared.optional:
            inputs[declared.name] = given[declared.name]
    if stage.per_language:
        per_cell = {name: len(paths) for name, paths in inputs.items() if isinstance(paths, list)}
        if set(per_cell.values()) | {len(out)} != {len(cells)}:
            counts = ", ".join(f"{number} --{name}" for name, number in per_cell.items())
            raise UsageError(
                f"{len(cells)} cells, {len(out)} --out, {counts}; give one of each for each cell."
            )
    options = {declared.name: given[declared.name] for declared in stage.options}
    return Job(stage, cells, inputs, out, given["cache_dir"], given["code"], options, missing)


def _check_cells(stage: Stage, cells: Any) -> None:
    """Raise UsageError if ``cells`` are not JSON objects or belong to another stage."""
    option = "--cells" if stage.per_language else "--cell"
    is_list = isinstance(cells, list) and all(isinstance(cell, dict) for cell in cells)
    if not is_list or any(cell.get("stage", stage.name) != stage.name for cell in cells):
        raise UsageError(f"{option}: must be the JSON of cells of the stage {stage.name!r}.")


def parse(text: str, option: str) -> Any:
    """The JSON value of an option. Raises UsageError if it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{option}: is not valid JSON ({error}); give JSON.") from None
