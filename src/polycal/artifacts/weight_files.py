"""Check that the weight files of a model folder are complete, without loading them.

Only the headers of the files are read. The format is described at https://huggingface.co/docs/safetensors:
eight bytes with the length of a JSON header, then the header with the type, shape and position of each
tensor, then the tensors.
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
"""The first bytes of the small text file that Git LFS puts in place of a file that was not downloaded."""
LENGTH_BYTES = 8
"""Number of bytes before the header, which contain its length."""
MAX_HEADER = 100_000_000
"""Length in bytes of the longest header that the format allows."""
FULL_TYPES = ("F64", "F32", "F16", "BF16")
"""Types of unquantised weights. A weight of another type needs a scale."""
ADAPTER = "adapter_config.json"
LONGEST_NAME = 255
"""Length in bytes of the longest file name on common file systems."""
QUANTISATION_KEYS = ("quantization_config", "compression_config")


class WeightsError(CheckpointError, CellError):
    """The weights of a model cannot be used, however often they are read."""


def check(folder: Path) -> None:
    """Check a model folder without loading the model.

    Raises WeightsError for an adapter, a file that is only a pointer of Git LFS, a ``config.json`` that is
    missing or not a JSON object, and quantised weights. Also raises it for weights that are missing,
    truncated or not in the safetensors format, for an index that is invalid or names files outside the
    folder, and for a tensor that is not in the file that the index names. Raises CheckpointError for a broken
    link.
    """
    if (folder / ADAPTER).is_file():
        raise WeightsError(
            f"{folder / ADAPTER}: an adapter, which polycal does not apply; merge it into the weights of its base"
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
    """The content of ``config.json``. Raises WeightsError if it is missing or not a JSON object."""
    path = folder / "config.json"
    if not path.is_file():
        raise WeightsError(f"{folder}: config.json is missing; it must be beside the weights.")
    return _read_object(path)


def tensor_names(path: Path) -> set[str]:
    """The names of the tensors in a safetensors file.

    Raises WeightsError if the file is truncated, too long or not a safetensors file, or if a weight is
    quantised.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(LENGTH_BYTES)
        length = struct.unpack("<Q", start)[0] if len(start) == LENGTH_BYTES else 0
        if not length or length > min(size - LENGTH_BYTES, MAX_HEADER):
            raise WeightsError(
                f"{path}: truncated or not a safetensors file: a header of {length} bytes does not fit in its"
                f" {size} bytes; copy or download it again."
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
            f"{path}: {'truncated' if size < needed else 'too long'}: {size} bytes, but its tensors end at byte"
            f" {needed}; copy or download it again."
        )
    # Some models also save masks and positions as integers. Their names do not end in "weight".
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
    weight_map = index.get("weight_map")
    if (
        not isinstance(weight_map, dict)
        or not weight_map
        or not all(isinstance(name, str) for name in weight_map.values())
    ):
        raise WeightsError(f"{path}: weight_map must be a mapping of tensors to file names.")
    if not isinstance(index.get("metadata"), dict):
        raise WeightsError(f"{path}: metadata must be a mapping; transformers needs it.")
    shards = sorted(set(weight_map.values()))
    for name in shards:
        is_name = Path(name).name == name and len(name.encode("utf-8", "replace")) <= LONGEST_NAME
        if not is_name or name == ".." or not name.endswith(".safetensors"):
            raise WeightsError(f"{path}: {name!r} must be the name of a *.safetensors file beside the index.")
        if not (folder / name).is_file():
            raise WeightsError(
                f"{folder / name}: missing; {INDEX} names this file, so copy or download it too."
            )
    shard_of: dict[str, str] = {}
    for name in shards:
        for tensor in tensor_names(folder / name):
            if tensor in shard_of:
                raise WeightsError(
                    f"{folder}: {shard_of[tensor]} and {name} both contain the tensor {tensor!r}; only one file may."
                )
            shard_of[tensor] = name
    for tensor, name in weight_map.items():
        if shard_of.get(tensor) != name:
            raise WeightsError(
                f"{folder / name}: the tensor {tensor!r} is missing, but {INDEX} names this file for it;"
                " copy or download both again."
            )


def _read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises WeightsError if it is not one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: not valid JSON: {error}.") from error
    if not isinstance(value, dict):
        raise WeightsError(f"{path}: {type(value).__name__}; must be a JSON object.")
    return value


def _refuse_pointer(path: Path) -> None:
    """Raise WeightsError if the file is only a pointer of Git LFS."""
    with path.open("rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise WeightsError(
                f"{path}: only the pointer of Git LFS, not the file; run `git lfs pull` in its repository."
            )


def _refuse_quantised(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise WeightsError if a configuration describes a quantisation."""
    for key, value in _items(config):
        if key in QUANTISATION_KEYS and value:
            method = value.get("quant_method", "unknown method") if isinstance(value, dict) else value
            raise WeightsError(
                f"{folder / 'config.json'}: {key} describes quantised weights ({method});"
                " choose the model's weights in float32, bfloat16 or float16."
            )


def _items(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Keys and values of a configuration and of all configurations inside it."""
    for key, value in config.items():
        yield key, value
        if isinstance(value, dict):
            yield from _items(value)
