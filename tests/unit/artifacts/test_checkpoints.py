"""Checkpoints are read from folders and manifests, and refused if a file is missing or broken."""

import pytest

from polycal.artifacts import checkpoints, files


def test_a_checkpoint_needs_weights_and_its_checksum_covers_only_its_parts(tmp_path):
    with pytest.raises(checkpoints.CheckpointError, match=r"config\.json is missing"):
        checkpoints.read(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(checkpoints.CheckpointError, match="no weights"):
        checkpoints.read(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"w")
    first = checkpoints.read(tmp_path).content
    (tmp_path / "README.md").write_text("words")
    assert checkpoints.read(tmp_path).content == first
    manifest = tmp_path.parent / f"{tmp_path.name}.json"
    files.write_json(manifest, {"folder": tmp_path.name, **checkpoints.describe(tmp_path)})
    assert checkpoints.read(manifest).content == first
    (tmp_path / "model.safetensors").write_bytes(b"other")
    assert checkpoints.read(tmp_path).content != first
    with pytest.raises(
        checkpoints.CheckpointError, match=r"model\.safetensors .* missing or has another size"
    ):
        checkpoints.read(manifest)


def test_a_checkpoint_is_whole_if_each_file_has_its_size(tmp_path):
    folder, out = tmp_path / "weights", tmp_path / "manifest.json"
    assert not checkpoints.is_whole(out)
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text("{}")
    files.write_json(out, {"folder": folder.name, **checkpoints.describe(folder)})
    assert checkpoints.is_whole(out)
    (folder / "model.safetensors").write_text("{} and more")
    assert not checkpoints.is_whole(out)
    (folder / "model.safetensors").unlink()
    assert not checkpoints.is_whole(out)
    out.write_text("{broken")
    assert not checkpoints.is_whole(out)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe weights", "not a manifest, because it is not text; give the model's folder"),
        (b"[]", "not a manifest, because it is not a JSON object"),
        (b"{broken", "not a manifest, because it is not valid JSON"),
        (b"[" * 100_000, "not a manifest, because it is not valid JSON"),
        (b'{"a": 1}', "not a checkpoint's manifest: 'content' is missing"),
    ],
)
def test_a_file_that_is_not_a_manifest_is_refused(tmp_path, content, words):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(checkpoints.CheckpointError, match=rf"model\.safetensors: {words}"):
        checkpoints.read(tmp_path / "model.safetensors")
