"""Where models and data come from: the hub at a pinned commit, packages, local files, or the miniature hub.

No code in a repository or package is ever run.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from polycal.artifacts import checkpoints, files
from polycal.data import hub, packages
from polycal.data.hub import SourceError


def is_pinned(source: Mapping[str, Any]) -> bool:
    """Whether the source itself identifies the files, by a commit or by checksums of archives."""
    return "hub" in source or "packages" in source


def local_path(source: Mapping[str, Any]) -> Path:
    """The folder or file of a local, generated or miniature source.

    ``source["generated"]`` is a folder of generated questions, ``source["miniature"]`` one of the miniature hub. A path whose name contains ``{language}`` is
    returned unchanged. Raises SourceError if the path does not exist.
    """
    if "miniature" in source:
        folder = Path(source["miniature"])
        if not folder.is_dir():
            raise SourceError(f"{folder}: no such folder; the miniature hub must be built first.")
        return folder
    if "generated" in source:
        folder = Path(source["generated"])
        if not folder.is_dir():
            raise SourceError(f"{folder}: no such folder; polycal world-benchmark must write it first.")
        return folder
    path = Path(source["path"]).expanduser()
    if not path.exists() and "{language}" not in path.name:
        raise SourceError(f"{path}: no such file or folder; correct the path of this source.")
    return path


def data_path(source: Mapping[str, Any], config: str | None = None) -> Path:
    """The folder or file of a data set or benchmark. It is downloaded if it is on the hub or in packages.

    ``config`` is the configuration whose files are downloaded; of a benchmark, the language. Raises SourceError if the data set cannot be
    obtained, and RecordError if its card does not list the configuration.
    """
    if "hub" in source:
        return hub.download_data(source["hub"], source["revision"], config)
    if "packages" in source:
        return packages.data_file(source, config)
    return local_path(source)


def input_checksums(cell: Mapping[str, Any]) -> dict[str, str]:
    """The sha256 of each local file that fetching ``cell`` reads, by name.

    It is empty for a source on the hub or in packages, because the commit or the checksums in the cell identify
    the files. Raises SourceError or CheckpointError if the source is missing.
    """
    source = cell["source"]
    if is_pinned(source):
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


def files_are_whole(out: Path) -> bool:
    """Whether every file that the manifest ``out`` lists exists with its size and sha256.

    False if there is no manifest.
    """
    if not out.is_file():
        return False
    listed = json.loads(out.read_text(encoding="utf-8"))["files"]
    present = [out.parent / name for name in listed if (out.parent / name).is_file()]
    return checksums(present, out.parent) == listed


def checksums(paths: Iterable[Path], root: Path) -> dict[str, dict[str, Any]]:
    """The ``bytes`` and ``sha256`` of files, by their names relative to ``root`` (a folder, or a file in it)."""
    # Links are not resolved, because files in the hub's cache are links to files named by their checksums.
    root = root if root.is_dir() else root.parent
    return {
        os.path.relpath(path, root): {"bytes": path.stat().st_size, "sha256": files.sha256(path)}
        for path in sorted(paths)
    }
