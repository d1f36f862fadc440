"""Export of a study's cells: one tidy table with its data dictionary, and a section for model cards."""

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from polycal.artifacts import files, manifests
from polycal.errors import PolycalError
from polycal.report import data_dictionary, model_cards
from polycal.vocabulary import CELL_KEYS

TABLES = ("cells", "diagnostics")
"""Tables with one row per cell, which are joined."""
RECORDS = "records.parquet"
"""The table that only a page of score records has, whose cells do not say how a model was trained."""
PROVENANCE_KEYS = ("fingerprint", "content", "code_version", "commit", "dirty", "settings")
"""Keys of the measured table's manifest that the exported file contains."""


class ExportError(PolycalError):
    """A folder that cannot be exported; the message says what is missing."""


def export(folder: Path, out: Path) -> list[Path]:
    """Write the cells of the study in ``folder`` to ``out`` and return the files.

    ``cells.csv`` and ``cells.parquet`` have one row per cell and one column per metric. In the Parquet file
    each column has its meaning and unit as metadata. ``dictionary.csv`` has one row per column.
    ``model-cards/NAME.md`` is a section for the model card of each checkpoint. Raises ExportError if a
    measured table is missing.
    """
    cells = tidy(folder)
    described = data_dictionary.entries(cells.columns)
    manifest = manifests.read(folder / "cells.parquet")
    provenance = {key: manifest.get(key) for key in PROVENANCE_KEYS}
    is_study = not (folder / RECORDS).is_file()
    cards = model_cards.sections(cells, folder.resolve().name, provenance, is_study)
    written = [out / name for name in ("cells.csv", "cells.parquet", "dictionary.csv")]
    _write_csv(cells, written[0])
    _write_parquet(cells, described, provenance, written[1])
    _write_csv(pd.DataFrame(described), written[2])
    for name, text in cards.items():
        written.append(out / "model-cards" / f"{name}.md")
        files.write_text(written[-1], text)
    return written


def tidy(folder: Path) -> pd.DataFrame:
    """The tables with one row per cell, joined.

    Raises ExportError if one is missing or if their cells differ.
    """
    keys = list(CELL_KEYS)
    joined = _read(folder, TABLES[0])
    for name in TABLES[1:]:
        table = _read(folder, name)
        if set(map(tuple, table[keys].to_numpy())) != set(map(tuple, joined[keys].to_numpy())):
            raise ExportError(
                f"{folder / name}.parquet has other cells than {TABLES[0]}.parquet; both must be of one measurement."
            )
        joined = joined.merge(table, on=keys, validate="one_to_one")
    return joined


def _read(folder: Path, name: str) -> pd.DataFrame:
    path = folder / f"{name}.parquet"
    if not path.is_file():
        raise ExportError(
            f"{path} is missing; must be in the folder of a measured study, such as results/studies/NAME."
        )
    try:
        table = pd.read_parquet(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ExportError(f"{path}: truncated or not a Parquet file; measure must write it again.") from error
    missing = [key for key in CELL_KEYS if key not in table]
    if missing:
        raise ExportError(f"{path}: column {missing[0]!r} is missing; must be a table of polycal measure.")
    return table


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    """UTF-8 with all digits. An empty field is an undefined value."""
    with files.replacing(path) as part:
        table.to_csv(part, index=False, lineterminator="\n")


def _write_parquet(
    cells: pd.DataFrame, described: list[data_dictionary.Entry], provenance: dict[str, object], path: Path
) -> None:
    table = pa.Table.from_pandas(cells, preserve_index=False)
    columns = [
        field.with_metadata({"meaning": entry.meaning, "unit": entry.unit})
        for field, entry in zip(table.schema, described, strict=True)
    ]
    metadata = {b"polycal": json.dumps({"exported_from": provenance}, sort_keys=True).encode()}
    schema = pa.schema(columns, metadata={**(table.schema.metadata or {}), **metadata})
    with files.replacing(path) as part:
        pq.write_table(table.cast(schema), part, compression="zstd")
