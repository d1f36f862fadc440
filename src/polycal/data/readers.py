"""Rows of data files in Parquet, csv and JSON, one at a time, so that the size of a file does not matter.

JSON is not read through ``datasets``: it loads a JSON array into memory as a whole (OpenHermes-2.5 is one
array of two gigabytes), and infers the types of JSON lines from the first few megabytes.
"""

import csv
import difflib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from polycal.artifacts.records import RecordError

SUFFIXES = (".parquet", ".csv", ".jsonl", ".json")
BATCH_ROWS = 1000
"""Rows of a Parquet file in memory at a time."""
PIECE_CHARACTERS = 1 << 20
"""Characters of a JSON array that are read at a time."""
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
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file), [])
        return DatasetSplit(str(path), [path], header, _csv_rows(path))
    return DatasetSplit(str(path), [path], None, _json_rows(path))


def parquet_columns(path: Path) -> list[str]:
    """The column names of a Parquet file. Raises RecordError if it is broken."""
    try:
        return pq.read_schema(path).names
    except (pa.ArrowInvalid, OSError) as error:
        raise RecordError(f"{path}: truncated or not a Parquet file.") from error


def _parquet_rows(path: Path) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                yield from batch.to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise RecordError(f"{path}: truncated or not a Parquet file.") from error


def _csv_rows(path: Path) -> Iterator[Row]:
    csv.field_size_limit(LONGEST_CELL)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise RecordError(
                        f"{path}: line {reader.line_num}: must have {len(reader.fieldnames or [])} cells."
                    )
                yield {name: value if value != "" else None for name, value in row.items()}
        except (csv.Error, UnicodeDecodeError) as error:
            raise RecordError(f"{path}: line {reader.line_num}: not valid csv: {error}.") from error


def _json_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        try:
            start = file.read(1)
            while start.isspace():
                start = file.read(1)
            if start == "[":
                yield from _array_elements(path, file)
                return
            file.seek(0)
            for number, line in enumerate(file, start=1):
                if line.strip():
                    try:
                        yield json.loads(line)
                    except json.JSONDecodeError as error:
                        raise RecordError(f"{path}: line {number}: not valid JSON: {error}.") from error
        except UnicodeDecodeError as error:
            raise RecordError(f"{path}: not UTF-8 text: {error}.") from error


def _array_elements(path: Path, file: TextIO) -> Iterator[Row]:
    """The elements of a JSON array whose opening bracket has been read, with one piece of text in memory."""
    decoder = json.JSONDecoder()
    text, position, number = "", 0, 0
    while True:
        while position < len(text) and (text[position].isspace() or text[position] == ","):
            position += 1
        if position < len(text) and text[position] == "]":
            return
        try:
            if position == len(text):
                raise json.JSONDecodeError("more text is needed", text, position)
            row, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            # Either the element continues in the next piece, or, if there is none, the file is broken.
            piece = file.read(PIECE_CHARACTERS)
            if not piece:
                raise RecordError(
                    f"{path}: element {number}: truncated or not valid JSON: {error}."
                ) from error
            text, position = text[position:] + piece, 0
            continue
        yield row
        number += 1
