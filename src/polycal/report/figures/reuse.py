"""Figures that an earlier report has drawn from the same data, with the same code and libraries.

A change of a study seldom changes all of its figures. Over-confidence, for example, does not depend on the number of
bins. Each figure is therefore stored under a key, a hash of all that determines it.
"""

import hashlib
from pathlib import Path

import pandas as pd
import pyarrow as pa

from polycal.artifacts import files, records
from polycal.report.figures import writing
from polycal.report.figures.drawing import Drawing
from polycal.store import cache, code_versions

MODULES = ("report.figures.drawing", "report.figures.writing")
"""Modules that every figure depends on, besides that of its function."""
LIBRARIES = ("matplotlib", "numpy", "pandas", "seaborn")


def key(drawing: Drawing) -> str:
    """The key of a figure, as 64 hexadecimal digits.

    It is the sha256 of the figure's function and arguments, of the data that it draws, and of the versions of the code
    and libraries that draw it.
    """
    module = drawing.function.__module__.removeprefix("polycal.")
    facts = {
        "figure": f"{module}:{drawing.function.__qualname__}",
        "arguments": drawing.arguments,
        "tables": {name: _content(table) for name, table in drawing.study.tables.items()},
        "languages": dict(drawing.study.languages),
        "condition": dict(drawing.study.condition),
        "holes": _content(drawing.holes),
        "several": drawing.several,
        "version": code_versions.modules_version((module, *MODULES), LIBRARIES),
    }
    return hashlib.sha256(files.canonical_json(facts).encode()).hexdigest()


def _content(table: pd.DataFrame) -> str:
    return records.checksum(pa.Table.from_pandas(table, preserve_index=False))


def restore(folder: Path, figure: str, of: Path) -> bool:
    """Link the figure with the key ``figure`` to the path ``of``, which has no suffix, in all formats.

    Returns False if ``folder`` has no such figure, or one whose files are incomplete or altered.
    """
    return cache.restore_entry(folder, figure, _files(of))


def store(folder: Path, figure: str, of: Path) -> None:
    """Store the figure at the path ``of``, which has no suffix, under the key ``figure``."""
    cache.store(folder, figure, _files(of))


def _files(of: Path) -> dict[str, Path]:
    """The name of each file in the folder of stored figures, and its path in the report."""
    return {f"figure{suffix}": of.with_name(f"{of.name}{suffix}") for suffix in writing.UNDATED}
