"""Local models and data: which are accepted, and which files a fingerprint covers."""

import json
import re
from pathlib import Path

import pytest
from helpers.hub import COMMIT, MODEL
from helpers.stamps import FixedStamp

from polycal.artifacts import checkpoints
from polycal.data import base_models, sources
from polycal.data.hub import SourceError


def cell(**source: str) -> dict[str, object]:
    return {"stage": "fetch_model", "model": "m", "source": source}


def folder_of(tmp_path: Path, **changes: bytes | None) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for name, body in {**MODEL, **{k.replace("__", "."): v for k, v in changes.items()}}.items():
        if body is not None and "/" not in name:
            (folder / name).write_bytes(body)
    return folder


def test_a_local_model_is_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path)
    monkeypatch.chdir(tmp_path)
    for path, expected in (("model", "../../model"), (str(folder), str(folder))):
        out = tmp_path / "resources" / "m" / "manifest.json"
        base_models.fetch_model(cell(path=path), out=out, stamp=FixedStamp())
        manifest = json.loads(out.read_text())
        assert manifest["folder"] == expected
        assert manifest["revision"] is None
        assert checkpoints.read(out).folder == folder
    assert sources.input_checksums(cell(path="model")) == {"model": manifest["content"]}


def test_a_miniature_model_is_in_the_miniature_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("resources/miniature/models/llama/base_seed=0")
    with pytest.raises(SourceError, match="the miniature hub must be built first"):
        base_models.fetch_model(cell(miniature=str(folder)), out=Path("m/manifest.json"), stamp=FixedStamp())
    folder.parent.mkdir(parents=True)
    folder_of(tmp_path).rename(folder)
    base_models.fetch_model(
        cell(miniature=str(folder)),
        out=Path("resources/models/llama/base_seed=0/manifest.json"),
        stamp=FixedStamp(),
    )
    assert checkpoints.read("resources/models/llama/base_seed=0/manifest.json").folder == folder.resolve()


def test_a_model_that_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "manifest.json"
    with pytest.raises(SourceError, match="no such file or folder"):
        base_models.fetch_model(cell(path=str(tmp_path / "nowhere")), out=out, stamp=FixedStamp())
    folder = folder_of(tmp_path, tokenizer__json=None)
    with pytest.raises(SourceError, match=r"has no tokenizer; one of tokenizer\.json"):
        base_models.fetch_model(cell(path=str(folder)), out=out, stamp=FixedStamp())
    (folder / "tokenizer.json").write_text("{}")
    (folder / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": {"AutoModel": "x.Y"}}))
    with pytest.raises(SourceError, match="'own' needs its own code"):
        base_models.fetch_model(cell(path=str(folder)), out=out, stamp=FixedStamp())
    (folder / "model.safetensors").unlink()
    with pytest.raises(checkpoints.CheckpointError, match="no weights"):
        base_models.fetch_model(cell(path=str(folder)), out=out, stamp=FixedStamp())
    assert not out.exists()


def test_a_fingerprint_covers_the_files_of_its_own_language_only() -> None:
    root = Path(__file__).parents[2] / "fixtures/hub/MMLU-ProX"
    checksums = sources.input_checksums({"benchmark": "b", "language": "zh", "source": {"path": str(root)}})
    assert sorted(checksums) == [
        "README.md",
        "zh/test-00000-of-00001.parquet",
        "zh/validation-00000-of-00001.parquet",
    ]
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in checksums.values())
    alpaca = root.with_name("alpaca")
    assert len(sources.input_checksums({"data": "d", "source": {"path": str(alpaca)}})) == 2
    assert sources.input_checksums({"data": "d", "source": {"hub": "a/d", "revision": COMMIT}}) == {}
    assert sources.local_files(root, "nowhere") == sources.local_files(root)
    pattern = root / "zh" / "{language}-00000-of-00001.parquet"
    assert sources.local_files(pattern, "test") == [root / "zh/test-00000-of-00001.parquet"]
    assert sources.local_files(pattern, "fr") == []
