"""Rows of data files and of hub-shaped data set repositories, one at a time, whatever their size.

Parquet goes through ``datasets``, which knows how a repository names its configurations and splits. JSON
does not: ``datasets`` reads a JSON array (OpenHermes-2.5 is one, of two gigabytes) into memory as a whole
and infers the types of JSON lines from the first few megabytes.
"""

import csv
import difflib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from polycal.artifacts.records import RecordError

SUFFIXES = (".parquet", ".csv", ".jsonl", ".json")
BATCH = 1000

Row = dict[str, Any]


@dataclass(frozen=True)
class Split:
    """One split of a data set: its files and its rows, which can be gone through once.

    ``columns`` is None for JSON, where each row names its own.
    """

    name: str
    files: list[Path]
    columns: list[str] | None
    rows: Iterator[Row]

    def require(self, wanted: Iterable[str]) -> None:
        """Raise RecordError where a column is missing; JSON rows are checked as they come."""
        if self.columns is not None:
            _require(self.name, self.columns, wanted)

    def numbered(self, wanted: Iterable[str]) -> Iterator[tuple[str, Row]]:
        """Each row with the words that name it in a message; raises RecordError for a missing column."""
        wanted = list(wanted)
        self.require(wanted)
        for number, row in enumerate(self.rows):
            where = f"{self.name}: row {number}"
            if self.columns is None:
                if not isinstance(row, dict):
                    raise RecordError(f"{where}: must be a JSON object, not {type(row).__name__}.")
                _require(where, row, wanted)
            yield where, row


def _require(where: str, found: Iterable[str], wanted: Iterable[str]) -> None:
    found = list(found)
    for column in wanted:
        if column not in found:
            close = difflib.get_close_matches(column, found, n=1)
            hint = f"; is {close[0]!r} meant to be it?" if close else "."
            raise RecordError(
                f"{where}: column {column!r} is missing (found {', '.join(map(str, found)) or 'none'}){hint}"
            )


def read_file(path: Path) -> Split:
    """The rows of one parquet, csv, jsonl or json file (an array of objects, or one object a line).

    Raises RecordError for another kind of file, a missing one, and, while rows are read, a broken one.
    """
    if not path.is_file():
        raise RecordError(f"{path}: no such file.")
    if path.suffix not in SUFFIXES:
        raise RecordError(f"{path}: cannot be read; a data file ends in {', '.join(SUFFIXES)}.")
    if path.suffix == ".parquet":
        return Split(str(path), [path], _parquet_columns(path), _parquet(path))
    if path.suffix == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file), [])
        return Split(str(path), [path], header, _csv(path))
    return Split(str(path), [path], None, _json(path))


def read_repository(folder: Path, config: str | None = None) -> dict[str, Split]:
    """The splits of a hub-shaped folder by name; ``config`` names one of its configurations.

    Which files those are the card's ``configs`` say, else ``datasets`` by the usual folder and file names.
    Code in the repository is never run. Raises RecordError for an unknown configuration and for a folder
    without data files.
    """
    if not folder.is_dir():
        raise RecordError(f"{folder}: no such folder.")
    card = folder / "README.md"
    splits = card_splits(card.read_text(encoding="utf-8"), config, str(folder)) if card.is_file() else None
    with _without_torch():
        import datasets

        # Given its files, datasets does not ask after those of other configurations, which are not
        # downloaded; by name it does (5.2).
        name = config if splits is None else None
        try:
            builder = datasets.load_dataset_builder(str(folder.absolute()), name=name, data_files=splits)
        except (datasets.exceptions.DatasetNotFoundError, OSError, RuntimeError, ValueError) as error:
            what = f"configuration {config!r}" if config else "data files"
            raise RecordError(f"{folder}: {what} cannot be had: {_first_line(error)}") from error
        found: dict[str, Split] = {}
        for split, names in (builder.config.data_files or {}).items():
            files = [Path(name) for name in names]
            title = f"{folder} ({config + ', ' if config else ''}{split})"
            if all(file.suffix == ".parquet" for file in files):
                columns = _parquet_columns(files[0])
                # datasets cannot read a file without rows (5.2).
                empty = all(pq.read_metadata(file).num_rows == 0 for file in files)
                stream = builder.as_streaming_dataset(str(split)).with_format("arrow")
                rows = iter(()) if empty else _arrow_rows(title, stream.iter(batch_size=BATCH))
                found[str(split)] = Split(title, files, columns, rows)
            else:
                parts = [read_file(file) for file in files]
                rows = (row for part in parts for row in part.rows)
                found[str(split)] = Split(title, files, parts[0].columns, rows)
    return found


def card_splits(card: str, config: str | None, repository: str) -> dict[str, list[str]] | None:
    """Patterns of the data files of ``config`` by split, as the text of a card gives them; None if it does not.

    Without ``config``, the configuration ``default``, or the only one. Raises RecordError for one that the
    card does not name.
    """
    head = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", card, re.DOTALL)
    try:
        configs = (yaml.safe_load(head[1]) or {}).get("configs") if head else None
    except yaml.YAMLError as error:
        raise RecordError(f"{repository}: the card's YAML is broken: {_first_line(error)}") from error
    if not configs:
        return None
    known = {str(entry["config_name"]): entry.get("data_files") for entry in configs}
    name = config or ("default" if "default" in known or len(known) > 1 else next(iter(known)))
    if name not in known:
        raise RecordError(
            f"{repository}: no configuration {name!r}; the data set has {', '.join(sorted(known))}."
        )
    given = known[name]
    if given is None:
        return None
    if isinstance(given, str) or (isinstance(given, list) and all(isinstance(part, str) for part in given)):
        given = {"train": given}
    if isinstance(given, list):
        given = {part["split"]: part["path"] for part in given}
    return {str(split): [paths] if isinstance(paths, str) else list(paths) for split, paths in given.items()}


@contextmanager
def _without_torch() -> Iterator[None]:
    """``datasets`` without torch, which it imports as soon as a stream is made: two seconds a job."""
    fresh = "datasets" not in sys.modules
    progress = os.environ.get("HF_DATASETS_DISABLE_PROGRESS_BARS")
    if fresh:
        os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    import datasets

    if fresh and progress is None:
        del os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"]
    available = datasets.config.TORCH_AVAILABLE
    datasets.config.TORCH_AVAILABLE = False
    try:
        yield
    finally:
        datasets.config.TORCH_AVAILABLE = available


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _arrow_rows(title: str, tables: Iterator[pa.Table]) -> Iterator[Row]:
    import datasets

    try:
        with _without_torch():
            for table in tables:
                yield from table.to_pylist()
    except (pa.ArrowInvalid, pa.ArrowTypeError, datasets.table.CastError, OSError) as error:
        raise RecordError(
            f"{title}: the files are broken or not as the card declares: {_first_line(error)}"
        ) from error


def _parquet_columns(path: Path) -> list[str]:
    try:
        return pq.read_schema(path).names
    except (pa.ArrowInvalid, OSError) as error:
        raise RecordError(f"{path}: truncated or not a Parquet file.") from error


def _parquet(path: Path) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH):
                yield from batch.to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise RecordError(f"{path}: truncated or not a Parquet file.") from error


def _csv(path: Path) -> Iterator[Row]:
    # A cell holds a whole conversation; the default limit is 128 KiB.
    csv.field_size_limit(1 << 30)
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


def _json(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        try:
            start = file.read(1)
            while start.isspace():
                start = file.read(1)
            if start == "[":
                yield from _array(path, file)
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


def _array(path: Path, file: Any) -> Iterator[Row]:
    """The elements of a JSON array whose bracket has been read, a megabyte of text in memory at a time."""
    decoder = json.JSONDecoder()
    text, place, number = "", 0, 0
    while True:
        while place < len(text) and (text[place].isspace() or text[place] == ","):
            place += 1
        if place < len(text) and text[place] == "]":
            return
        try:
            if place == len(text):
                raise json.JSONDecodeError("more text is needed", text, place)
            row, place = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            # Either the object goes on in the next piece, or, when there is none, the file is broken.
            piece = file.read(1 << 20)
            if not piece:
                raise RecordError(
                    f"{path}: element {number}: truncated or not valid JSON: {error}."
                ) from error
            text, place = text[place:] + piece, 0
            continue
        yield row
        number += 1
