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

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from polycal.artifacts.records import RecordError
from polycal.data.readers import BATCH_ROWS, DatasetSplit, Row, parquet_columns, read_file


def read_repository(folder: Path, config: str | None = None) -> dict[str, DatasetSplit]:
    """The splits of a repository's folder by name; ``config`` names one of its configurations.

    The files of a split are those that the card's ``configs`` list; without them, ``datasets`` finds them by
    the usual folder and file names. Code in the repository is never run. Raises RecordError for an unknown
    configuration and for a folder without data files.
    """
    if not folder.is_dir():
        raise RecordError(f"{folder}: no such folder.")
    card = folder / "README.md"
    patterns = card_splits(card.read_text(encoding="utf-8"), config, str(folder)) if card.is_file() else None
    with _without_torch():
        import datasets

        # Given its files, datasets does not look for those of other configurations, which are not
        # downloaded; given only a name, it does (5.2).
        name = config if patterns is None else None
        try:
            builder = datasets.load_dataset_builder(str(folder.absolute()), name=name, data_files=patterns)
        except (datasets.exceptions.DatasetNotFoundError, OSError, RuntimeError, ValueError) as error:
            what = f"configuration {config!r}" if config else "data files"
            raise RecordError(f"{folder}: {what} cannot be had: {_first_line(error)}") from error
        splits: dict[str, DatasetSplit] = {}
        for split, names in (builder.config.data_files or {}).items():
            files = [Path(name) for name in names]
            title = f"{folder} ({config + ', ' if config else ''}{split})"
            if all(file.suffix == ".parquet" for file in files):
                columns = parquet_columns(files[0])
                # datasets cannot read a file without rows (5.2).
                is_empty = all(pq.read_metadata(file).num_rows == 0 for file in files)
                stream = builder.as_streaming_dataset(str(split)).with_format("arrow")
                rows = iter(()) if is_empty else _arrow_rows(title, stream.iter(batch_size=BATCH_ROWS))
                splits[str(split)] = DatasetSplit(title, files, columns, rows)
            else:
                parts = [read_file(file) for file in files]
                rows = (row for part in parts for row in part.rows)
                splits[str(split)] = DatasetSplit(title, files, parts[0].columns, rows)
    return splits


def card_splits(card: str, config: str | None, repository: str) -> dict[str, list[str]] | None:
    """Patterns of the data files of ``config`` by split, from the text of a card; None if it lists no files.

    Without ``config``, the configuration ``default`` or the only one is meant. Raises RecordError for a
    configuration that the card does not list, and for broken YAML.
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
    data_files = known[name]
    if data_files is None:
        return None
    if isinstance(data_files, str) or (
        isinstance(data_files, list) and all(isinstance(part, str) for part in data_files)
    ):
        data_files = {"train": data_files}
    if isinstance(data_files, list):
        data_files = {part["split"]: part["path"] for part in data_files}
    return {
        str(split): [paths] if isinstance(paths, str) else list(paths) for split, paths in data_files.items()
    }


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
                yield from table.to_pylist()
    except (pa.ArrowInvalid, pa.ArrowTypeError, datasets.table.CastError, OSError) as error:
        raise RecordError(
            f"{title}: the files are broken or not as the card declares: {_first_line(error)}"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
