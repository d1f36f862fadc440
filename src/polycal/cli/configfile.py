"""The option ``--configfile``: the configuration of a study, given and read as for Snakemake."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from polycal.study.config import Config

BASE = (Path("config/languages.yaml"), Path("config/config.yaml"))
"""Files of the paper's grid, which all others change."""
OPTION = "--configfile"
SUFFIXES = (".yaml", ".yml", ".json")
SEPARATOR = "\0"
"""Between the files of one option. No path can contain it."""

Configfile = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE...", help="Files of the study, later ones over earlier ones, over the paper's grid."
    ),
]


class Commands(TyperGroup):
    """A group of commands that take several files after one ``--configfile``, as Snakemake does."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Join the files of each ``--configfile`` into one argument, because Click's options take one."""
        return super().parse_args(ctx, joined(args))


def joined(args: Sequence[str]) -> list[str]:
    """``args`` with the files that follow a ``--configfile`` as one argument.

    After the first file, only names of YAML and JSON files belong to the option, so that a target may follow.
    """
    result: list[str] = []
    in_files = False
    for number, arg in enumerate(args):
        if in_files and arg.endswith(SUFFIXES):
            result[-1] += SEPARATOR + arg
        else:
            result.append(arg)
            in_files = number > 0 and args[number - 1] == OPTION
    return result


def files(options: Sequence[str] | None) -> list[Path]:
    """The files of all options ``--configfile``, in their order."""
    return [Path(name) for option in options or [] for name in option.split(SEPARATOR)]


def load(options: Sequence[str] | None) -> "Config":
    """The configuration that the options describe: their files over the paper's grid.

    The files of the paper's grid may be missing from the working directory if others are given.
    """
    from polycal.study import config_loading

    overlays = files(options)
    return config_loading.load([*(path for path in BASE if path.exists() or not overlays), *overlays])
