"""The weight files of a model folder: all there, whole, and inside the folder. Only their headers are read.

The format is described at https://huggingface.co/docs/safetensors: eight bytes with the length of a JSON
header, the header with type, shape and position of each tensor, then the tensors.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from polycal.artifacts import checkpoints
from polycal.artifacts.checkpoints import CheckpointError
from polycal.errors import CellError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
POINTER = b"version https://git-lfs.github.com/spec/"
"""The first bytes of a file that Git LFS left instead of the content."""
LENGTH_BYTES = 8
"""Bytes before the header, which give its length."""
MAX_HEADER = 100_000_000
"""Longest header in bytes that the format allows."""
FULL_TYPES = ("F64", "F32", "F16", "BF16")
"""Types of weights that are numbers by themselves; others need a scale or are no weights."""
ADAPTER = "adapter_config.json"
LONGEST_NAME = 255
"""Bytes of the name of a file."""
QUANTISATION_KEYS = ("quantization_config", "compression_config")


class WeightsError(CheckpointError, CellError):
    """Weights that cannot be used, however often they are read; the message names the file."""


def check(folder: Path) -> None:
    """Check what can be known of a model without loading it.

    Raises WeightsError for an adapter, a part that is a pointer of Git LFS, a ``config.json`` that is no JSON
    object, quantised weights, an index that is no index or names files outside the folder, a missing shard, a file
    that is cut or no safetensors file, and a tensor that the index names but its file does not hold.
    """
    if (folder / ADAPTER).is_file():
        raise WeightsError(
            f"{folder / ADAPTER}: an adapter, which is never applied; merge it into the weights of its base"
            " model (merge_and_unload of peft) and remove this file."
        )
    for path in checkpoints.parts(folder):
        _refuse_pointer(path)
    _refuse_quantised(folder, read_config(folder))
    if (folder / WEIGHTS).is_file():
        tensor_names(folder / WEIGHTS)
    elif (folder / INDEX).is_file():
        _check_shards(folder)
    else:
        raise WeightsError(f"{folder}: no weights; {WEIGHTS} is needed, or {INDEX} and the files it names.")


def read_config(folder: Path) -> dict[str, Any]:
    """The content of ``config.json``. Raises WeightsError if it is missing or no JSON object."""
    path = folder / "config.json"
    if not path.is_file():
        raise WeightsError(f"{folder}: config.json is missing; it must be beside the weights.")
    return _read_object(path)


def tensor_names(path: Path) -> set[str]:
    """The names of the tensors in a safetensors file.

    Raises WeightsError if it is cut, too long, or no safetensors file, or if a weight is quantised.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(LENGTH_BYTES)
        length = struct.unpack("<Q", start)[0] if len(start) == LENGTH_BYTES else 0
        if not length or length > min(size - LENGTH_BYTES, MAX_HEADER):
            raise WeightsError(
                f"{path}: cut or not a safetensors file: a header of {length} bytes does not fit in its {size}"
                " bytes; copy or download it again."
            )
        header = file.read(length)
    try:
        tensors = json.loads(header)
        tensors.pop("__metadata__", None)
        ends = [int(tensor["data_offsets"][1]) for tensor in tensors.values()]
        types = {name: str(tensor["dtype"]) for name, tensor in tensors.items()}
    except (ValueError, AttributeError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise WeightsError(
            f"{path}: not a safetensors file, its header cannot be read; copy or download it again."
        ) from error
    needed = LENGTH_BYTES + length + max(ends, default=0)
    if size != needed:
        raise WeightsError(
            f"{path}: {'cut' if size < needed else 'too long'}: {size} bytes, but its tensors end at byte {needed};"
            " copy or download it again."
        )
    # masks and positions, which some models save too, are whole numbers and are not named so
    for name, kind in types.items():
        if name.endswith("weight") and kind not in FULL_TYPES:
            raise WeightsError(
                f"{path}: {name} is of type {kind}, so the weights are quantised or converted; choose the"
                " model's weights in float32, bfloat16 or float16."
            )
    return set(tensors)


def _check_shards(folder: Path) -> None:
    """Check the index of a folder and the files that it names."""
    path = folder / INDEX
    index = _read_object(path)
    files = index.get("weight_map")
    if not isinstance(files, dict) or not files or not all(isinstance(name, str) for name in files.values()):
        raise WeightsError(f"{path}: weight_map must be a mapping of tensors to file names.")
    if not isinstance(index.get("metadata"), dict):
        raise WeightsError(f"{path}: metadata must be there as a mapping; transformers needs it.")
    for name in sorted(set(files.values())):
        is_name = Path(name).name == name and len(name.encode("utf-8", "replace")) <= LONGEST_NAME
        if not is_name or name == ".." or not name.endswith(".safetensors"):
            raise WeightsError(f"{path}: {name!r} must be the name of a *.safetensors file beside the index.")
        if not (folder / name).is_file():
            raise WeightsError(f"{folder / name}: missing; {INDEX} names this file, copy or download it too.")
    file_of: dict[str, str] = {}
    for name in sorted(set(files.values())):
        for tensor in tensor_names(folder / name):
            if tensor in file_of:
                raise WeightsError(f"{folder}: {file_of[tensor]} and {name} both hold the tensor {tensor!r}.")
            file_of[tensor] = name
    for tensor, name in files.items():
        if file_of.get(tensor) != name:
            raise WeightsError(
                f"{folder / name}: the tensor {tensor!r} is missing, which {INDEX} expects here."
            )


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: not valid JSON: {error}.") from error
    if not isinstance(value, dict):
        raise WeightsError(f"{path}: {type(value).__name__}; must be a JSON object.")
    return value


def _refuse_pointer(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise WeightsError(
                f"{path}: only the pointer of Git LFS, not the file; run `git lfs pull` in its repository."
            )


def _refuse_quantised(folder: Path, config: Mapping[str, Any]) -> None:
    for key, value in _items(config):
        if key in QUANTISATION_KEYS and value:
            method = value.get("quant_method", "unknown method") if isinstance(value, dict) else value
            raise WeightsError(
                f"{folder / 'config.json'}: {key} says that the weights are quantised ({method});"
                " choose the model's weights in float32, bfloat16 or float16."
            )


def _items(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Keys and values of a configuration and of the configurations inside it."""
    for key, value in config.items():
        yield key, value
        if isinstance(value, dict):
            yield from _items(value)
