"""Values that take seconds to compute and depend only on installed code: computed once, then read from a file."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from polycal.artifacts import files

Value = TypeVar("Value")
"""A value of JSON."""

FOLDER = Path(__file__).resolve().parents[3] / ".cache"
"""Folder of the files, which may be deleted at any time."""


def value(name: str, key: str, compute: Callable[[], Value]) -> Value:
    """The value of ``compute()``, from the file of ``name`` and ``key`` if it exists.

    ``key`` must be a hash of everything that the value depends on, so a file is never out of date. A damaged file is
    replaced. A file that cannot be written is not needed.
    """
    path = FOLDER / name / f"{key}.json"
    try:
        found: Value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = compute()
        with contextlib.suppress(OSError):
            files.write_json(path, found, durable=False)
    return found
