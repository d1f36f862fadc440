"""Model folders: the files that make a model, their checksums, and the manifest that refers to them."""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polycal.artifacts import failures, files
from polycal.errors import PolycalError

PARTS = {
    "added_tokens.json",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "merges.txt",
    "model.safetensors.index.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
}
"""Files beside the weights that change a model's answers. A README or a licence does not."""


class CheckpointError(PolycalError):
    """A folder or manifest that does not lead to weights; the message says what is missing and where."""


@dataclass(frozen=True)
class Checkpoint:
    """The folder of a model, its name, and ``content``: one sha256 over all files that change its answers."""

    folder: Path
    content: str
    name: str


def describe(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """``files``: bytes and sha256 of each part of the model in ``folder``; ``content``: one checksum over
    them.

    Raises CheckpointError if there is no ``config.json`` or no safetensors file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder}: no such folder; a checkpoint is a folder with config.json and weights."
        )
    paths = parts(folder)
    names = {path.name for path in paths}
    if "config.json" not in names:
        raise CheckpointError(f"{folder}: config.json is missing; it must be beside the weights.")
    if not any(name.endswith(".safetensors") for name in names):
        raise CheckpointError(f"{folder}: no weights; at least one *.safetensors file is needed.")
    described = {path.name: {"bytes": path.stat().st_size, "sha256": files.sha256(path)} for path in paths}
    return {"files": described, "content": content(described)}


def parts(folder: Path) -> list[Path]:
    """The files of a model folder that change its answers; empty if there is no such folder.

    Raises CheckpointError if one is no file, such as a link to nothing.
    """
    paths = folder.iterdir() if folder.is_dir() else ()
    found = sorted(path for path in paths if path.suffix == ".safetensors" or path.name in PARTS)
    for path in found:
        if not path.is_file():
            what = "a link to a file that is not there" if path.is_symlink() else "no file"
            raise CheckpointError(f"{path}: {what}; copy or download it again.")
    return found


def content(described: dict[str, dict[str, Any]]) -> str:
    """The checksum of a model: sha256 over the names and checksums of its files, sorted by name."""
    lines = "".join(f"{name} {described[name]['sha256']}\n" for name in sorted(described))
    return hashlib.sha256(lines.encode()).hexdigest()


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """The checkpoint behind a model folder, a ``manifest.json`` or a ``selected.json``.

    The checksums of a manifest are trusted (``check`` computes them anew), but each file must be there with the
    recorded size. Raises CheckpointError otherwise, for a failed result with its reason.
    """
    path = Path(path)
    if path.is_dir():
        return Checkpoint(path, describe(path)["content"], path.name)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; give a model folder or its manifest.json.")
    manifest = _read_manifest(path)
    if failure := failures.of(manifest):
        raise CheckpointError(f"{path}: there is no checkpoint, {failure.stage} failed: {failure.reason}")
    if "manifest" in manifest:
        return read(path.parent / manifest["manifest"])
    if missing := {"folder", "content", "files"} - set(manifest):
        raise CheckpointError(f"{path}: not a checkpoint's manifest: {min(missing)!r} is missing.")
    folder = (path.parent / manifest["folder"]).resolve()
    for name, file in manifest["files"].items():
        part = folder / name
        if not part.is_file() or part.stat().st_size != file["bytes"]:
            raise CheckpointError(
                f"{path}: {name} of the checkpoint is missing or has another size than the manifest says."
            )
    return Checkpoint(folder, manifest["content"], str(manifest.get("cell", {}).get("model", folder.name)))


def check(path: str | os.PathLike[str]) -> None:
    """Compute the checksum of each file of the checkpoint behind a manifest anew; of a folder ``read`` does that.

    Raises CheckpointError for a file that is not the one that the manifest lists.
    """
    path = Path(path)
    if path.is_dir():
        return
    manifest = _read_manifest(path)
    if "manifest" in manifest:
        check(path.parent / manifest["manifest"])
        return
    folder = read(path).folder
    listed = manifest["files"]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found = list(pool.map(lambda name: files.sha256(folder / name), listed))
    for (name, file), sha256 in zip(listed.items(), found, strict=True):
        if sha256 != file["sha256"]:
            raise CheckpointError(
                f"{folder / name}: altered since {path} was written; remove both and start again, they are"
                " made anew."
            )


def _read_manifest(path: Path) -> dict[str, Any]:
    """The content of a manifest's file. Raises CheckpointError if it is no JSON object."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise CheckpointError(
            f"{path}: not a manifest, which is text; give the model's folder or its manifest.json."
        ) from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a manifest, the JSON is broken: {error}.") from error
    if not isinstance(manifest, dict):
        raise CheckpointError(f"{path}: not a manifest, which is a JSON object; give the model's folder.")
    return manifest


def is_whole(out: Path) -> bool:
    """Whether the checkpoint behind the manifest ``out`` is there, each file with the recorded size."""
    try:
        read(out)
    except CheckpointError:
        return False
    return True
