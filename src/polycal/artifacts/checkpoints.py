"""Model folders: the files of a model, their checksums, and the manifest that refers to them."""

import hashlib
import json
import os
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
"""Files beside the weights that can change a model's answers."""


class CheckpointError(PolycalError):
    """A model folder or its manifest is missing, incomplete or broken."""


@dataclass(frozen=True)
class Checkpoint:
    """A model: its folder, its name, and ``content``, one sha256 over all files that can change its answers."""

    folder: Path
    content: str
    name: str


def describe(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The entries of a manifest that describe the model in ``folder``.

    ``files`` contains the size in bytes and the sha256 of each file of ``parts``. ``content`` is one checksum
    over them. Raises CheckpointError if the folder, ``config.json`` or a safetensors file is missing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder}: no such folder; a checkpoint must be a folder with config.json and weights."
        )
    paths = parts(folder)
    names = {path.name for path in paths}
    if "config.json" not in names:
        raise CheckpointError(f"{folder}: config.json is missing; it must be beside the weights.")
    if not any(name.endswith(".safetensors") for name in names):
        raise CheckpointError(f"{folder}: no weights; at least one *.safetensors file is needed.")
    file_entries = {path.name: {"bytes": path.stat().st_size, "sha256": files.sha256(path)} for path in paths}
    return {"files": file_entries, "content": content(file_entries)}


def parts(folder: Path) -> list[Path]:
    """The weights and PARTS in a model folder, sorted; empty if there is no such folder.

    Raises CheckpointError if one of them is not a file, for example a broken link.
    """
    paths = folder.iterdir() if folder.is_dir() else ()
    model_files = sorted(path for path in paths if path.suffix == ".safetensors" or path.name in PARTS)
    for path in model_files:
        if not path.is_file():
            problem = "a link to a missing file" if path.is_symlink() else "not a file"
            raise CheckpointError(f"{path}: {problem}; copy or download it again.")
    return model_files


def content(file_entries: dict[str, dict[str, Any]]) -> str:
    """The checksum of a model: sha256 over the names and checksums of its files, sorted by name."""
    lines = "".join(f"{name} {file_entries[name]['sha256']}\n" for name in sorted(file_entries))
    return hashlib.sha256(lines.encode()).hexdigest()


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """The checkpoint in a model folder, or the one that a ``manifest.json`` or ``selected.json`` refers to.

    Each file must exist and have the size in the manifest. Its checksum is not computed here; ``check`` does this.
    Raises CheckpointError if a file is missing or has another size, if the manifest is broken, and if it is a
    failed result, with the reason of the failure.
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
        raise CheckpointError(
            f"{path}: not a checkpoint's manifest: {min(missing)!r} is missing; give the manifest.json of a model."
        )
    folder = (path.parent / manifest["folder"]).resolve()
    for name, file in manifest["files"].items():
        part = folder / name
        if not part.is_file() or part.stat().st_size != file["bytes"]:
            raise CheckpointError(
                f"{path}: {name} of the checkpoint is missing or has another size than in the manifest; copy or"
                " make the checkpoint again."
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
    present = files.checksums(folder / name for name in listed)
    for (name, file), sha256 in zip(listed.items(), present, strict=True):
        if sha256 != file["sha256"]:
            raise CheckpointError(
                f"{folder / name}: altered since {path} was written; remove both and start again, they are"
                " made anew."
            )


def _read_manifest(path: Path) -> dict[str, Any]:
    """The content of a manifest's file. Raises CheckpointError if it is not a JSON object."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise CheckpointError(
            f"{path}: not a manifest, because it is not text; give the model's folder or its manifest.json."
        ) from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a manifest, because it is not valid JSON: {error}.") from error
    if not isinstance(manifest, dict):
        raise CheckpointError(
            f"{path}: not a manifest, because it is not a JSON object; give the model's folder."
        )
    return manifest


def is_whole(manifest: Path) -> bool:
    """Whether ``read`` finds the checkpoint of a manifest, with all files in the recorded sizes."""
    try:
        read(manifest)
    except CheckpointError:
        return False
    return True
