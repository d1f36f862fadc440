"""Read rows of Parquet, csv and JSON files one at a time, so that large files need little memory.

JSON is not read with ``datasets``. It would load a whole JSON array into memory (OpenHermes-2.5 is one array
of two gigabytes), and infer the types of JSON lines from the first few megabytes.
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
"""Number of rows of a Parquet file that are in memory at a time."""
LONGEST_CELL = 1 << 30
"""Largest number of characters in a csv cell, which may contain a whole conversation (Python's default: 131,072)."""

Row = dict[str, Any]


@dataclass(frozen=True)
class DatasetSplit:
    """One split of a data set: its files and its rows. The rows can be iterated once.

    ``name`` is the beginning of messages about its rows. ``columns`` is None for JSON, where each row has its
    own keys.
    """

    name: str
    files: list[Path]
    columns: list[str] | None
    rows: Iterator[Row]

    def require(self, required: Iterable[str]) -> None:
        """Raise RecordError if a required column is missing.

        JSON rows are checked later, when they are read.
        """
        if self.columns is not None:
            _require(self.name, self.columns, required)

    def numbered(self, required: Iterable[str]) -> Iterator[tuple[str, Row]]:
        """Rows, each with its location for messages. Raises RecordError if a required column is missing."""
        required = list(required)
        self.require(required)
        for number, row in enumerate(self.rows):
            where = f"{self.name}: row {number}"
            if self.columns is None:
                if not isinstance(row, dict):
                    raise RecordError(f"{where}: must be a JSON object, not {type(row).__name__}.")
                _require(where, row, required)
            yield where, row


def _require(where: str, columns: Iterable[str], required: Iterable[str]) -> None:
    """Raise RecordError if a required column is missing."""
    columns = list(columns)
    for column in required:
        if column not in columns:
            close = difflib.get_close_matches(column, columns, n=1)
            hint = f"; is {close[0]!r} meant?" if close else "."
            raise RecordError(
                f"{where}: column {column!r} is missing"
                f" (found {', '.join(map(str, columns)) or 'none'}){hint}"
            )


def read_file(path: Path) -> DatasetSplit:
    """The rows of a parquet, csv, jsonl or json file (an array of objects, or one object per line).

    Raises RecordError if the file is missing or of an unknown format. If it is broken, reading the rows may
    raise RecordError later.
    """
    if not path.is_file():
        raise RecordError(f"{path}: no such file.")
    if path.suffix not in SUFFIXES:
        raise RecordError(
            f"{path}: unknown format; the name of a data file must end in {', '.join(SUFFIXES)}."
        )
    if path.suffix == ".parquet":
        return DatasetSplit(str(path), [path], parquet_columns(path), _parquet_rows(path))
    if path.suffix == ".csv":
        return DatasetSplit(str(path), [path], _csv_header(path), _csv_rows(path))
    return DatasetSplit(str(path), [path], None, _json_rows(path))


def parquet_columns(path: Path) -> list[str]:
    """The column names of a Parquet file. Raises RecordError if it is broken or two columns have one name."""
    try:
        columns = pq.read_schema(path).names
    except (pa.ArrowInvalid, OSError) as error:
        raise RecordError(f"{path}: truncated or not a Parquet file.") from error
    _refuse_repeated(path, columns)
    return columns


def _csv_header(path: Path) -> list[str]:
    """The column names of a csv file. Raises RecordError if two columns have one name."""
    csv.field_size_limit(LONGEST_CELL)
    with text_files.opened(path, newline="") as file:
        try:
            columns = next(csv.reader(file, strict=True), [])
        except csv.Error as error:
            raise RecordError(f"{path}: line 1: not valid csv: {error}.") from error
    # Spreadsheets write columns without a name after the last one. They are not read.
    _refuse_repeated(path, [column for column in columns if column])
    return columns


def _refuse_repeated(path: Path, columns: list[str]) -> None:
    """Raise RecordError if two columns have one name."""
    for column in columns:
        if columns.count(column) > 1:
            raise RecordError(
                f"{path}: column {column!r} occurs {columns.count(column)} times; the names of columns must differ."
            )


def _parquet_rows(path: Path) -> Iterator[Row]:
    """The rows of a Parquet file. Raises RecordError if it is broken."""
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                yield from rows_of(batch, str(path))
    except (pa.ArrowInvalid, OSError) as error:
        raise RecordError(f"{path}: truncated or not a Parquet file.") from error


def rows_of(table: pa.Table | pa.RecordBatch, name: str) -> list[Row]:
    """The rows of an Arrow table. Raises RecordError if a text is not UTF-8, which Arrow does not check."""
    try:
        return table.to_pylist()
    except UnicodeDecodeError as error:
        for column in table.column_names:
            try:
                table.column(column).to_pylist()
            except UnicodeDecodeError:
                raise RecordError(
                    f"{name}: a text of column {column!r} is not UTF-8; texts in Parquet must be UTF-8."
                ) from error
        raise


def _csv_rows(path: Path) -> Iterator[Row]:
    """The rows of a csv file, with None for an empty cell. Raises RecordError if it is broken."""
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
    """The rows of a JSON file: the elements of an array, or one value per line."""
    with text_files.opened(path) as file:
        start = file.read(1)
        while start.isspace():
            start = file.read(1)
        file.seek(0)
        yield from (json_values.array if start == "[" else json_values.lines)(path, file)
