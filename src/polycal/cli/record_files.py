"""Score records that are given on the command line, as files or folders."""

from collections.abc import Sequence
from pathlib import Path

from polycal.cli.stage_commands import UsageError

QUESTION_SUFFIXES = (".csv", ".jsonl", ".json")
"""Suffixes of files with questions. No record has one of them."""


def found(given: Sequence[Path]) -> list[Path]:
    """The records below each folder, and the files themselves.

    Raises UsageError if a folder contains no record, or for a file with the suffix of a file of questions.
    """
    paths = [path for one in given for path in _below(one)]
    for path in paths:
        if path.suffix in QUESTION_SUFFIXES:
            raise UsageError(
                f"{path}: is no score record; give records that polycal score writes (.parquet)."
            )
    return paths


def _below(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    records = sorted(path.rglob("*.parquet"))
    if not records:
        raise UsageError(f"{path}: holds no score record (.parquet); give a folder of records.")
    return records
