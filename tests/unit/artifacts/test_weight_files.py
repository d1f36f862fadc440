"""Incomplete or unusable weights are refused, from their headers alone."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from helpers.weight_files import safetensors

from polycal.artifacts import weight_files
from polycal.artifacts.checkpoints import CheckpointError

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 123\n"


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A model with one weight file."""
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "model.safetensors").write_bytes(safetensors("a", "b"))
    return tmp_path


@pytest.fixture
def sharded(whole: Path) -> Path:
    """A model with two weight files and their index."""
    (whole / "model.safetensors").unlink()
    (whole / FIRST).write_bytes(safetensors("a"))
    (whole / SECOND).write_bytes(safetensors("b"))
    write_index(whole, {"a": FIRST, "b": SECOND})
    return whole


def write_index(folder: Path, weight_map: object) -> None:
    (folder / weight_files.INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def refused(folder: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as error:
        weight_files.check(folder)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(".")


def test_complete_weights_pass(whole: Path) -> None:
    weight_files.check(whole)
    assert weight_files.tensor_names(whole / "model.safetensors") == {"a", "b"}


def test_complete_shards_pass_also_as_links_into_a_cache(sharded: Path) -> None:
    weight_files.check(sharded)
    blobs, snapshot = sharded / "blobs", sharded / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    for file in [path for path in sharded.iterdir() if path.is_file()]:
        file.rename(blobs / file.name)
        os.symlink(f"../blobs/{file.name}", snapshot / file.name)
    weight_files.check(snapshot)


@pytest.mark.parametrize("length", [0, 4, 8, 60, -1])
def test_a_truncated_file_is_refused(whole: Path, length: int) -> None:
    (whole / "model.safetensors").write_bytes(safetensors("a", "b")[:length])
    refused(whole, r"model\.safetensors: truncated")


def test_a_file_that_is_too_long_or_of_another_format_is_refused(whole: Path) -> None:
    path = whole / "model.safetensors"
    path.write_bytes(safetensors("a") + b"more")
    refused(whole, "too long: .* bytes, but its tensors end at byte")
    path.write_bytes(b"PK\x03\x04 a zip file of a pickle" * 9)
    refused(whole, "not a safetensors file")
    for header in (b"no JSON!", b"[1, 2]", b'{"a": 1}', b'{"a": {"data_offsets": []}}', b"\xff\xfe{}"):
        path.write_bytes(len(header).to_bytes(8, "little") + header)
        refused(whole, "its header cannot be read")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer.model"])
def test_a_pointer_of_git_lfs_is_refused(whole: Path, name: str) -> None:
    (whole / name).write_text(POINTER)
    refused(whole, f"{name}: only the pointer of Git LFS")


def test_a_missing_or_truncated_shard_is_refused(sharded: Path) -> None:
    (sharded / SECOND).write_bytes(safetensors("b")[:-2])
    refused(sharded, f"{SECOND}: truncated")
    (sharded / SECOND).unlink()
    refused(sharded, f"{SECOND}: missing; model.safetensors.index.json names this file")


@pytest.mark.parametrize(
    "name",
    [
        "../x.safetensors",
        "/etc/x.safetensors",
        "sub/x.safetensors",
        "./x.safetensors",
        "..",
        "x.bin",
        f"{'x' * 300}.safetensors",
    ],
)
def test_an_index_with_a_file_outside_the_folder_is_refused(sharded: Path, name: str) -> None:
    write_index(sharded, {"a": FIRST, "b": name})
    refused(sharded, "must be the name of a .*safetensors file beside the index")


@pytest.mark.parametrize("weight_map", [None, {}, [FIRST], {"a": 1}])
def test_an_index_without_a_map_of_files_is_refused(sharded: Path, weight_map: object) -> None:
    write_index(sharded, weight_map)
    refused(sharded, "weight_map must be a mapping")


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"weight_map": ' + "9" * 5000])
def test_an_index_that_is_not_json_is_refused(sharded: Path, text: str) -> None:
    (sharded / weight_files.INDEX).write_text(text)
    refused(sharded, r"index\.json: not valid JSON")


def test_an_index_without_metadata_is_refused(sharded: Path) -> None:
    (sharded / weight_files.INDEX).write_text(json.dumps({"weight_map": {"a": FIRST, "b": SECOND}}))
    refused(sharded, r"index\.json: metadata must be a mapping")


def test_a_tensor_in_no_shard_or_in_two_is_refused(sharded: Path) -> None:
    write_index(sharded, {"a": FIRST, "b": SECOND, "c": SECOND})
    refused(sharded, f"{SECOND}: the tensor 'c' is missing")
    write_index(sharded, {"a": FIRST, "b": SECOND})
    (sharded / SECOND).write_bytes(safetensors("a", "b"))
    refused(sharded, f"{FIRST} and {SECOND} both contain the tensor 'a'")


def test_a_broken_link_or_a_folder_in_place_of_a_file_is_refused(whole: Path) -> None:
    (whole / "config.json").unlink()
    (whole / "config.json").mkdir()
    refused(whole, r"config\.json: not a file")
    (whole / "model.safetensors").unlink()
    (whole / "config.json").rmdir()
    os.symlink(whole / "gone", whole / "model.safetensors")
    refused(whole, r"model\.safetensors: a link to a missing file")


def test_an_adapter_beside_weights_is_refused(whole: Path) -> None:
    (whole / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    refused(whole, r"adapter_config\.json: an adapter, which polycal does not apply; merge it")


@pytest.mark.parametrize("kind", ["I8", "U8", "F8_E4M3", "I32", "BOOL", "C64"])
def test_weights_that_need_a_scale_are_refused(whole: Path, kind: str) -> None:
    content = safetensors("a.weight", "b", kind=kind)
    (whole / "model.safetensors").write_bytes(content)
    refused(whole, rf"a\.weight is of type {kind}, so the weights are quantised or converted")


@pytest.mark.parametrize("kind", ["F64", "F32", "F16", "BF16"])
def test_weights_in_every_full_type_pass(whole: Path, kind: str) -> None:
    (whole / "model.safetensors").write_bytes(safetensors("a.weight", kind=kind))
    weight_files.check(whole)


def test_a_folder_without_weights_or_config_is_refused(whole: Path) -> None:
    (whole / "model.safetensors").rename(whole / "adapter_model.safetensors")
    refused(whole, "no weights; model.safetensors is needed")
    (whole / "config.json").write_text("// a comment\n{}")
    refused(whole, r"config\.json: not valid JSON")
    (whole / "config.json").write_text("[]")
    refused(whole, r"config\.json: list; must be a JSON object")
    (whole / "config.json").unlink()
    refused(whole, r"config\.json is missing")


@pytest.mark.parametrize(
    ("config", "method"),
    [
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, "bitsandbytes"),
        ({"quantization_config": {"bits": 4}}, "unknown method"),
        ({"text_config": {"quantization_config": {"quant_method": "fp8"}}}, "fp8"),
        ({"compression_config": {"quant_method": "compressed-tensors"}}, "compressed-tensors"),
    ],
)
def test_quantised_weights_are_refused(whole: Path, config: Mapping[str, object], method: str) -> None:
    (whole / "config.json").write_text(json.dumps(config))
    refused(whole, rf"describes quantised weights \({method}\)")
    (whole / "config.json").write_text('{"quantization_config": null}')
    weight_files.check(whole)
