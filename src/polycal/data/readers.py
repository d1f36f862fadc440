"""Rows of data files in Parquet, csv and JSON, one at a time, so that the size of a file does not matter.

JSON is not read through ``datasets``: it loads a JSON array into memory as a whole (OpenHermes-2.5 is one
array of two gigabytes), and infers the types of JSON lines from the first few megabytes.
"""

import csv
import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from polycal.artifacts.records import RecordError
from polycal.data import json_values, text_files

SUFFIXES = (".parquet", ".csv", ".jsonl", ".json")
BATCH_ROWS = 1000
"""Rows of a Parquet file in memory at a time."""
LONGEST_CELL = 1 << 30
"""Characters in a cell of csv, which may hold a whole conversation; the csv module's default is 128 KiB."""

Row = dict[str, Any]


@dataclass(frozen=True)
class DatasetSplit:
    """One split of a data set: its files, and its rows, which can be iterated once.

    ``name`` starts the messages about its rows. ``columns`` is None for JSON, where each row has its own
    keys.
    """

    name: str
    files: list[Path]
    columns: list[str] | None
    rows: Iterator[Row]

    def require(self, wanted: Iterable[str]) -> None:
        """Raise RecordError if a column of ``wanted`` is missing; JSON rows are checked as they are read."""
        if self.columns is not None:
            _require(self.name, self.columns, wanted)

    def numbered(self, wanted: Iterable[str]) -> Iterator[tuple[str, Row]]:
        """Rows, each with its location for messages. Raises RecordError if a column of ``wanted`` is missing."""
        wanted = list(wanted)
        self.require(wanted)
        for number, row in enumerate(self.rows):
            where = f"{self.name}: row {number}"
            if self.columns is None:
                if not isinstance(row, dict):
                    raise RecordError(f"{where}: must be a JSON object, not {type(row).__name__}.")
                _require(where, row, wanted)
            yield where, row


def _require(where: str, columns: Iterable[str], wanted: Iterable[str]) -> None:
    columns = list(columns)
    for column in wanted:
        if column not in columns:
            close = difflib.get_close_matches(column, columns, n=1)
            hint = f"; is {close[0]!r} meant to be it?" if close else "."
            raise RecordError(
                f"{where}: column {column!r} is missing"
                f" (found {', '.join(map(str, columns)) or 'none'}){hint}"
            )


def read_file(path: Path) -> DatasetSplit:
    """The rows of one parquet, csv, jsonl or json file (an array of objects, or one object per line).

    Raises RecordError for a missing file and an unknown format, and while rows are read for a broken file.
    """
    if not path.is_file():
        raise RecordError(f"{path}: no such file.")
    if path.suffix not in SUFFIXES:
        raise RecordError(f"{path}: cannot be read; a data file ends in {', '.join(SUFFIXES)}.")
    if path.suffix == ".parquet":
        return DatasetSplit(str(path), [path], parquet_columns(path), _parquet_rows(path))
    if path.suffix == ".csv":
        return DatasetSplit(str(path), [path], _csv_header(path), _csv_rows(path))
    return DatasetSplit(str(path), [path], None, _json_rows(path))


def parquet_columns(path: Path) -> list[str]:
    """The column names of a Parquet file. Raises RecordError if it is broken or has a column twice."""
    try:
        columns = pq.read_schema(path).names
    except (pa.ArrowInvalid, OSError) as error:
        raise RecordError(f"{path}: truncated or not a Parquet file.") from error
    _refuse_repeated(path, columns)
    return columns


def _csv_header(path: Path) -> list[str]:
    """The column names of a csv file. Raises RecordError if it has a column twice."""
    csv.field_size_limit(LONGEST_CELL)
    with text_files.opened(path, newline="") as file:
        try:
            columns = next(csv.reader(file, strict=True), [])
        except csv.Error as error:
            raise RecordError(f"{path}: line 1: not valid csv: {error}.") from error
    # Spreadsheets write columns without a name after the last one; nothing reads them.
    _refuse_repeated(path, [column for column in columns if column])
    return columns


def _refuse_repeated(path: Path, columns: list[str]) -> None:
    for column in columns:
        if columns.count(column) > 1:
            raise RecordError(
                f"{path}: column {column!r} is there {columns.count(column)} times; each column must have a"
                " name of its own."
            )


def _parquet_rows(path: Path) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                yield from rows_of(batch, str(path))
    except (pa.ArrowInvalid, OSError) as error:
        raise RecordError(f"{path}: truncated or not a Parquet file.") from error


def rows_of(table: pa.Table | pa.RecordBatch, name: str) -> list[Row]:
    """The rows of an Arrow table. Raises RecordError for texts that are not UTF-8, which Arrow does not check."""
    try:
        return table.to_pylist()
    except UnicodeDecodeError as error:
        for column in table.column_names:
            try:
                table.column(column).to_pylist()
            except UnicodeDecodeError:
                raise RecordError(
                    f"{name}: a text of column {column!r} is not UTF-8; texts in Parquet must be."
                ) from error
        raise


def _csv_rows(path: Path) -> Iterator[Row]:
    with text_files.opened(path, newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise RecordError(
                        f"{path}: line {reader.line_num}: must have {len(reader.fieldnames or [])} cells."
                    )
                yield {name: value if value != "" else None for name, value in row.items()}
        except csv.Error as error:
            raise RecordError(f"{path}: line {reader.line_num}: not valid csv: {error}.") from error


def _json_rows(path: Path) -> Iterator[Row]:
    with text_files.opened(path) as file:
        start = file.read(1)
        while start.isspace():
            start = file.read(1)
        file.seek(0)
        yield from (json_values.array if start == "[" else json_values.lines)(path, file)
