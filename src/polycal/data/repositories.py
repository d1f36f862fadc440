"""Read data set repositories in the hub's layout: their cards, configurations and splits.

``datasets`` finds the files of each split, and reads Parquet. ``polycal.data.readers`` reads the other
formats.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from polycal.artifacts.records import RecordError
from polycal.data.readers import BATCH_ROWS, DatasetSplit, Row, parquet_columns, read_file, rows_of


def read_repository(folder: Path, config: str | None = None) -> dict[str, DatasetSplit]:
    """The splits of a repository's folder by name, for the configuration ``config``.

    The files of a split are those in ``configs`` of the card. Without ``configs``, ``datasets`` finds them by
    the usual folder and file names. Code in the repository is never run. Raises RecordError if the folder or
    its data files are missing, and if the configuration is unknown.
    """
    if not folder.is_dir():
        raise RecordError(f"{folder}: no such folder.")
    card_file = folder / "README.md"
    card = card_file.read_text(encoding="utf-8", errors="replace") if card_file.is_file() else ""
    patterns = card_splits(card, config, str(folder))
    with _without_torch():
        import datasets

        # datasets 5.2, given only a name, looks for the files of all configurations, and those of the others
        # are not downloaded. Given the files, it does not.
        name = config if patterns is None else None
        path, data_files = str(folder.absolute()), patterns
        if patterns is not None and _misread_names(card):
            # datasets reads names such as no and 1.0 as other values and fails. Given the format and the
            # files, it does not read the card.
            path = "parquet"
            data_files = {
                split: [str(folder.absolute() / pattern) for pattern in names]
                for split, names in patterns.items()
            }
        try:
            builder = datasets.load_dataset_builder(path, name=name, data_files=data_files)
        except (
            datasets.exceptions.DatasetNotFoundError,
            OSError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            subject = f"configuration {config!r}" if config else "the data files"
            raise RecordError(f"{folder}: {subject} cannot be found: {first_line(error)}") from error
        splits: dict[str, DatasetSplit] = {}
        for split, names in (builder.config.data_files or {}).items():
            files = [Path(name) for name in names]
            title = f"{folder} ({config + ', ' if config else ''}{split})"
            if all(file.suffix == ".parquet" for file in files):
                columns, *_ = [parquet_columns(file) for file in files]
                # datasets cannot read a file without rows (5.2).
                is_empty = all(pq.read_metadata(file).num_rows == 0 for file in files)
                stream = builder.as_streaming_dataset(str(split)).with_format("arrow")
                rows = iter(()) if is_empty else _arrow_rows(title, stream.iter(batch_size=BATCH_ROWS))
                splits[str(split)] = DatasetSplit(title, files, columns, rows)
            else:
                parts = [read_file(file) for file in files]
                rows = (row for part in parts for row in part.rows)
                # If the files have different columns, the columns of each row are checked.
                is_uniform = all(part.columns == parts[0].columns for part in parts)
                splits[str(split)] = DatasetSplit(
                    title, files, parts[0].columns if is_uniform else None, rows
                )
    return splits


def card_splits(card: str, config: str | None, repository: str) -> dict[str, list[str]] | None:
    """Patterns of the data files of ``config`` by split, from the text of a card. None if it lists no files.

    Without ``config``, the configuration ``default`` or the only one is used. Raises RecordError for a
    configuration that the card does not list, for files outside the repository, and for broken YAML.
    """
    configs = _head(card, repository, _TextLoader).get("configs")
    if not configs:
        return None
    if not isinstance(configs, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("config_name"), str) for entry in configs
    ):
        raise RecordError(f"{repository}: the card's configs must be a list, each with a config_name.")
    known = {entry["config_name"]: entry.get("data_files") for entry in configs}
    if len(known) < len(configs):
        raise RecordError(f"{repository}: the card names a configuration twice ({', '.join(sorted(known))}).")
    name = config or ("default" if "default" in known or len(known) > 1 else next(iter(known)))
    if name not in known:
        raise RecordError(
            f"{repository}: no configuration {name!r}; the data set has {', '.join(sorted(known))}."
        )
    data_files = known[name]
    if data_files is None:
        return None
    if isinstance(data_files, str) or (
        isinstance(data_files, list) and all(isinstance(part, str) for part in data_files)
    ):
        data_files = {"train": data_files}
    if isinstance(data_files, list):
        if not all(isinstance(part, dict) and {"split", "path"} <= set(part) for part in data_files):
            raise RecordError(f"{repository}: each of the data_files of {name!r} needs a split and a path.")
        if len({part["split"] for part in data_files}) < len(data_files):
            raise RecordError(f"{repository}: the data_files of {name!r} name a split twice.")
        data_files = {part["split"]: part["path"] for part in data_files}
    if not isinstance(data_files, dict) or not all(isinstance(p, (str, list)) for p in data_files.values()):
        raise RecordError(
            f"{repository}: the data_files of {name!r} must be paths, or splits with their paths."
        )
    patterns = {str(split): [p] if isinstance(p, str) else list(p) for split, p in data_files.items()}
    for path in (path for paths in patterns.values() for path in paths):
        parts = str(path).replace("\\", "/").split("/")
        if not isinstance(path, str) or ".." in parts or not parts[0] or ":" in path:
            raise RecordError(
                f"{repository}: the data_files of {name!r} name {path!r}; each must be a path inside the data set."
            )
    return patterns


class _TextLoader(yaml.SafeLoader):
    """YAML whose scalars are texts, except null. In plain YAML ``no`` is false and ``1.10`` is 1.1."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [pair for pair in resolvers if pair[0].endswith((":null", ":merge"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _head(card: str, repository: str, loader: type[yaml.SafeLoader]) -> dict[str, Any]:
    """The YAML at the beginning of a card; empty if there is none. Raises RecordError if it is broken.

    ``loader`` must be a safe one, which makes only texts, numbers, lists and mappings.
    """
    head = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", card, re.DOTALL)
    try:
        values = loader(head[1]).get_single_data() if head else None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise RecordError(f"{repository}: the card's YAML is broken: {first_line(error)}") from error
    return values if isinstance(values, dict) else {}


def _misread_names(card: str) -> bool:
    """Whether plain YAML reads the name of a configuration or split in a card as a value other than text."""
    entries = _head(card, "", yaml.SafeLoader).get("configs") or []
    names = [entry.get("config_name") for entry in entries]
    for entry in entries:
        files = entry.get("data_files")
        parts = files if isinstance(files, list) else []
        names += [part["split"] for part in parts if isinstance(part, dict) and "split" in part]
        names += list(files) if isinstance(files, dict) else []
    return not all(isinstance(name, str) for name in names)


@contextmanager
def _without_torch() -> Iterator[None]:
    """Prevent ``datasets`` from importing torch when it makes a stream, which takes two seconds per job."""
    is_first_import = "datasets" not in sys.modules
    progress_bars = os.environ.get("HF_DATASETS_DISABLE_PROGRESS_BARS")
    if is_first_import:
        os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    import datasets

    if is_first_import and progress_bars is None:
        del os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"]
    available = datasets.config.TORCH_AVAILABLE
    datasets.config.TORCH_AVAILABLE = False
    try:
        yield
    finally:
        datasets.config.TORCH_AVAILABLE = available


def _arrow_rows(title: str, tables: Iterator[pa.Table]) -> Iterator[Row]:
    """The rows of Arrow tables. Raises RecordError if the files are broken."""
    import datasets

    try:
        with _without_torch():
            for table in tables:
                yield from rows_of(table, title)
    except (pa.ArrowInvalid, pa.ArrowTypeError, datasets.table.CastError, OSError) as error:
        raise RecordError(
            f"{title}: the files are broken or not as the card declares: {first_line(error)}"
        ) from error


def first_line(error: Exception) -> str:
    """The first line of another library's error message, or the error's class if it has no message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
