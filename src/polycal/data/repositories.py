"""Data set repositories in the shape of the hub's: their cards, configurations and splits.

Parquet goes through ``datasets``, which knows how a repository names its configurations and splits. The other
formats are read by ``polycal.data.readers``.
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
    """The splits of a repository's folder by name; ``config`` names one of its configurations.

    The files of a split are those that the card's ``configs`` list; without them, ``datasets`` finds them by
    the usual folder and file names. Code in the repository is never run. Raises RecordError for an unknown
    configuration and for a folder without data files.
    """
    if not folder.is_dir():
        raise RecordError(f"{folder}: no such folder.")
    card_file = folder / "README.md"
    card = card_file.read_text(encoding="utf-8", errors="replace") if card_file.is_file() else ""
    patterns = card_splits(card, config, str(folder))
    with _without_torch():
        import datasets

        # Given its files, datasets does not look for those of other configurations, which are not
        # downloaded; given only a name, it does (5.2).
        name = config if patterns is None else None
        path, data_files = str(folder.absolute()), patterns
        if patterns is not None and _misread_names(card):
            # datasets reads names such as no and 1.0 as other values and fails; given the format and the
            # files, it does not look at the card.
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
            what = f"configuration {config!r}" if config else "data files"
            raise RecordError(f"{folder}: {what} cannot be had: {_first_line(error)}") from error
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
                # Where files have other columns than the first one, each row is checked.
                is_uniform = all(part.columns == parts[0].columns for part in parts)
                splits[str(split)] = DatasetSplit(
                    title, files, parts[0].columns if is_uniform else None, rows
                )
    return splits


def card_splits(card: str, config: str | None, repository: str) -> dict[str, list[str]] | None:
    """Patterns of the data files of ``config`` by split, from the text of a card; None if it lists no files.

    Without ``config``, the configuration ``default`` or the only one is meant. Raises RecordError for a
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
    """YAML whose scalars are texts, but for null; otherwise ``no`` is false and ``1.10`` is 1.1."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [pair for pair in resolvers if pair[0].endswith((":null", ":merge"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _head(card: str, repository: str, loader: type[yaml.SafeLoader]) -> dict[str, Any]:
    """The YAML at the beginning of a card; empty if there is none. Raises RecordError if it is broken.

    Both loaders are safe ones: they make no objects but texts, numbers, lists and mappings.
    """
    head = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", card, re.DOTALL)
    try:
        values = loader(head[1]).get_single_data() if head else None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise RecordError(f"{repository}: the card's YAML is broken: {_first_line(error)}") from error
    return values if isinstance(values, dict) else {}


def _misread_names(card: str) -> bool:
    """Whether plain YAML reads the name of a configuration or split in a card as something else than text."""
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
    """Keep ``datasets`` from importing torch, which takes two seconds per job when a stream is made."""
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
    import datasets

    try:
        with _without_torch():
            for table in tables:
                yield from rows_of(table, title)
    except (pa.ArrowInvalid, pa.ArrowTypeError, datasets.table.CastError, OSError) as error:
        raise RecordError(
            f"{title}: the files are broken or not as the card declares: {_first_line(error)}"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
