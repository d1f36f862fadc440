"""What a model folder is: the files that make it, their checksum, and the manifest that names them."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polycal.artifacts import files
from polycal.errors import PolycalError

# What changes a model's answers. A README or a licence beside them does not.
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


class CheckpointError(PolycalError):
    """A folder or manifest that does not lead to weights; the message says what is missing where."""


@dataclass(frozen=True)
class Checkpoint:
    """Where a model's files lie, and ``content``: one sha256 over all that changes its answers."""

    folder: Path
    content: str
    name: str


def describe(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Bytes and sha256 of each part of the model in ``folder``, and ``content`` over all of them.

    Raises CheckpointError where there is no ``config.json`` or no safetensors file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder}: no such folder; a checkpoint is a folder with config.json and weights."
        )
    found = parts(folder)
    names = {p.name for p in found}
    if "config.json" not in names:
        raise CheckpointError(f"{folder}: config.json is missing; a checkpoint holds it beside its weights.")
    if not any(name.endswith(".safetensors") for name in names):
        raise CheckpointError(f"{folder}: no weights; at least one *.safetensors file is needed.")
    described = {p.name: {"bytes": p.stat().st_size, "sha256": files.sha256(p)} for p in found}
    return {"files": described, "content": content(described)}


def parts(folder: Path) -> list[Path]:
    """The files of a model folder that change its answers; none where there is no such folder."""
    there = folder.iterdir() if folder.is_dir() else ()
    return sorted(p for p in there if p.suffix == ".safetensors" or p.name in PARTS)


def content(described: dict[str, dict[str, Any]]) -> str:
    """The checksum of a model: over the names and checksums of its files."""
    lines = "".join(f"{name} {described[name]['sha256']}\n" for name in sorted(described))
    return hashlib.sha256(lines.encode()).hexdigest()


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """The checkpoint behind a model folder, a ``manifest.json`` or a ``selected.json``.

    A manifest's checksums are believed (they were taken when the files were written; ``polycal verify``
    takes them again), but every file must be there with its size. Raises CheckpointError otherwise.
    """
    path = Path(path)
    if path.is_dir():
        return Checkpoint(path, describe(path)["content"], path.name)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; give a model folder or its manifest.json.")
    try:
        manifest = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path}: not a manifest, the JSON is broken: {error}.") from error
    if "manifest" in manifest:
        return read(path.parent / manifest["manifest"])
    if missing := {"folder", "content", "files"} - set(manifest):
        raise CheckpointError(f"{path}: not a checkpoint's manifest: {sorted(missing)[0]!r} is missing.")
    folder = (path.parent / manifest["folder"]).resolve()
    for name, file in manifest["files"].items():
        part = folder / name
        if not part.is_file() or part.stat().st_size != file["bytes"]:
            raise CheckpointError(
                f"{path}: {name} of the checkpoint is missing or has another size than the manifest says."
            )
    return Checkpoint(folder, manifest["content"], str(manifest.get("cell", {}).get("model", folder.name)))


def is_whole(out: Path) -> bool:
    """Whether the checkpoint behind the manifest ``out`` is there, each file with the size that is recorded."""
    try:
        read(out)
    except CheckpointError:
        return False
    return True
