"""Get models and data from the hub at a pinned commit, from a local folder or file, or from the miniature hub.

No code in a repository is ever run.
"""

import importlib.util
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from polycal.artifacts import checkpoints, files, weight_files
from polycal.artifacts.manifests import Stamp
from polycal.data import hub
from polycal.data.hub import SourceError
from polycal.errors import CellError

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")

Cell = Mapping[str, Any]


class UnusableModelError(SourceError, CellError):
    """A model exists but cannot be used, because its tokenizer or its code is missing."""


def fetch_model(cell: Cell, *, out: Path, stamp: Stamp) -> None:
    """Make the model of ``cell["source"]`` available, and write its manifest to ``out``.

    A local folder is not copied. Files of the hub are stored beside the manifest, in a folder with the name
    of the commit. The manifest contains ``folder`` (relative to the manifest, unless the source is an
    absolute path), ``source``, ``revision``, and the files with their checksums. Raises SourceError if the
    model cannot be obtained, UnusableModelError if it has no tokenizer or needs its own code, and
    CheckpointError if its weights are missing, incomplete or quantised (``weight_files.check``).
    """
    source = cell["source"]
    hub_checksums: dict[str, str] = {}
    if "hub" in source:
        folder, hub_checksums = hub.download_model(source["hub"], source["revision"], out.parent)
    else:
        folder = local_path(source)
    description = checkpoints.describe(folder)
    for name, sha256 in hub_checksums.items():
        if description["files"][name]["sha256"] != sha256:
            raise SourceError(
                f"{folder / name}: differs from the hub's checksum; delete the file and start again."
            )
    weight_files.check(folder)
    if not any(name in description["files"] for name in TOKENIZER_FILES):
        raise UnusableModelError(
            f"{folder}: the model has no tokenizer; one of {', '.join(TOKENIZER_FILES)} must be beside"
            " config.json."
        )
    _refuse_remote_code(folder)
    is_absolute = "path" in source and Path(source["path"]).is_absolute()
    relative = os.path.relpath(folder.resolve(), out.parent.resolve())
    origin = {
        "folder": str(folder) if is_absolute else relative,
        "source": dict(source),
        "revision": source.get("revision"),
    }
    files.write_json(out, {**stamp(), **description, **origin})


def local_path(source: Mapping[str, str]) -> Path:
    """The folder or file of a local or miniature source.

    ``source["miniature"]`` is a folder of the miniature hub. A path whose name contains ``{language}`` is
    returned unchanged. Raises SourceError if the path does not exist.
    """
    if "miniature" in source:
        folder = Path(source["miniature"])
        if not folder.is_dir():
            raise SourceError(f"{folder}: no such folder; the miniature hub must be built first.")
        return folder
    path = Path(source["path"]).expanduser()
    if not path.exists() and "{language}" not in path.name:
        raise SourceError(f"{path}: no such file or folder; correct the path of this source.")
    return path


def data_path(source: Mapping[str, str], config: str | None = None) -> Path:
    """The folder or file of a data set or benchmark. It is downloaded if it is on the hub.

    ``config`` is the configuration whose files are downloaded. Raises SourceError if the data set cannot be
    obtained, and RecordError if its card does not list the configuration.
    """
    if "hub" in source:
        return hub.download_data(source["hub"], source["revision"], config)
    return local_path(source)


def input_checksums(cell: Cell) -> dict[str, str]:
    """The sha256 of each local file that fetching ``cell`` reads, by name.

    It is empty for a source on the hub, because the commit in the cell identifies the files. Raises
    SourceError or CheckpointError if the source is missing.
    """
    source = cell["source"]
    if "hub" in source:
        return {}
    path = local_path(source)
    if "model" in cell:
        return {"model": checkpoints.describe(path)["content"]}
    paths = local_files(path, cell.get("language", ""))
    return {name: file["sha256"] for name, file in checksums(paths, path).items()}


def local_files(path: Path, language: str = "") -> list[Path]:
    """The files of a local data set or benchmark at ``path``, sorted.

    If some files belong to ``language``, by the name of a folder or file, only these and the README are
    returned. So a change in the file of another language does not affect this language.
    """
    if "{language}" in path.name:
        path = path.with_name(path.name.replace("{language}", language))
    if not path.is_dir():
        return [path] if path.is_file() else []
    all_files = [file for file in path.rglob("*") if file.is_file()]
    of_language = [
        file for file in all_files if file.stem == language or language in file.relative_to(path).parts[:-1]
    ]
    if not of_language:
        return sorted(all_files)
    return sorted([file for file in all_files if file.parent == path and file.stem == "README"] + of_language)


def checksums(paths: Iterable[Path], root: Path) -> dict[str, dict[str, Any]]:
    """The ``bytes`` and ``sha256`` of files, by their names relative to ``root`` (a folder, or a file in it)."""
    # Links are not resolved, because files in the hub's cache are links to files named by their checksums.
    root = root if root.is_dir() else root.parent
    return {
        os.path.relpath(path, root): {"bytes": path.stat().st_size, "sha256": files.sha256(path)}
        for path in sorted(paths)
    }


def _refuse_remote_code(folder: Path) -> None:
    """Raise UnusableModelError if a model can only be loaded by code in its repository."""
    config = weight_files.read_config(folder)
    if "auto_map" not in config:
        return
    # Many models still list the code of their first release in auto_map, although transformers contains them
    # now. transformers has a folder for each model type. To look there avoids an import of five seconds.
    model_type = str(config.get("model_type"))
    spec = importlib.util.find_spec("transformers")
    models = Path(spec.origin).parent / "models" if spec and spec.origin else Path()
    if not (models / model_type.replace("-", "_")).is_dir():
        raise UnusableModelError(
            f"{folder}: model type {model_type!r} needs its own code (auto_map), which polycal does not run;"
            " choose a model that transformers contains."
        )
