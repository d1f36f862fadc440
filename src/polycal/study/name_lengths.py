"""Checks that the names and settings of a study are short enough for file systems, Slurm and a shell.

A single name has at most ``config_values.LONGEST_NAME`` characters. Below ``results/``, each name of a cell has
a folder of its own. Two kinds of files join several names. Snakemake's executor names the log folder of a
Slurm job by all wildcards of the job. The file of a figure joins fewer names. Names are ASCII, so a character
is a byte. If all names of a cell together have at most ``LONGEST_CELL`` characters, every path of the study below
the working directory has fewer than 500.
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from polycal.vocabulary import NONE

if TYPE_CHECKING:
    from polycal.study.config import Block, Config

LONGEST_CELL = 255
"""Longest name of a folder, in characters: all names of a cell, joined by one character each."""
LONGEST_COMMAND = 100_000
"""Most bytes of settings in a command. Linux allows 131,072 bytes in one argument, and bash -c gets a whole job
as one argument."""


def check_block(config: "Config", block: "Block", at: str) -> None:
    """Raise ValueError if the names of a cell of ``block``, the value of key ``at``, are together too long."""
    keys = ("models", "base_seeds", "data", "recipes", "betas", "seeds")
    checkpoint = {key: [*getattr(block, key), NONE] for key in keys}
    rates = [rate for name in block.recipes for rate in config.recipes[name].learning_rates]
    scored = {
        "benchmarks": block.benchmarks,
        "protocols": block.protocols,
        "languages": [code for name in block.benchmarks for code in config.benchmarks[name].languages],
    }
    jobs: list[dict[str, list[str]]] = [
        {**checkpoint, **scored},
        {**checkpoint, "learning_rates": [*rates, NONE]},
    ]
    if config.embeddings:
        jobs.append({**checkpoint, **scored, "languages": [config.embeddings.pooling]})
    if config.next_token:
        jobs.append({**checkpoint, "next_token.data": config.next_token.data})
    if config.generation:
        # Unknown names are refused elsewhere.
        named = [name for name in config.generation.benchmarks if name in config.benchmarks]
        codes = [code for name in named for code in config.benchmarks[name].languages]
        entailment = [config.generation.entailment or NONE]
        jobs.append(
            {
                **checkpoint,
                "generation.benchmarks": named or [NONE],
                "generation.entailment": entailment,
                "languages": codes or [NONE],
            }
        )
    for names in jobs:
        _check_joined(names, at)


def _check_joined(names: Mapping[str, Sequence[str]], at: str) -> None:
    longest = {key: max(values, key=len) for key, values in names.items()}
    length = sum(map(len, longest.values())) + len(longest) - 1
    if length > LONGEST_CELL:
        key, name = max(longest.items(), key=lambda item: len(item[1]))
        raise ValueError(
            f"{at}: the names of a cell have up to {length} characters together, but file systems and Slurm's"
            f" log folder allow {LONGEST_CELL}; shorten some, for example {name!r} of {key} ({len(name)})"
        )


def check_commands(cells: Iterable[tuple[str, str]]) -> None:
    """Raise ValueError if a cell is too long for the command of its job; ``cells`` are (stage, JSON)."""
    for stage, cell in cells:
        length = len(shlex.quote(cell).encode())
        if length > LONGEST_COMMAND:
            raise ValueError(
                f"the settings of the job {stage} have {length} bytes, but a shell command allows"
                f" {LONGEST_COMMAND}; shorten the longest texts or lists, such as licences or sources"
            )
