"""Downloads from the hub: which files are chosen, what remains after a failure, and error messages."""

import errno
import hashlib
import json
import re
import shutil
from pathlib import Path

import httpx2
import pytest
from helpers.hub import COMMIT, MODEL, Hub, files
from helpers.stamps import FixedStamp
from helpers.weight_files import safetensors
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError

from polycal.artifacts import checkpoints, records
from polycal.data import base_models, benchmarks, instructions, sources
from polycal.data.hub import SourceError, UnreachableError, hub_errors, model_files

GONE = "f" * 40


def cell(**source: str) -> dict[str, object]:
    return {"stage": "fetch_model", "model": "m", "source": source}


def test_a_hub_model_is_downloaded_as_safetensors_without_code(hub: Hub, tmp_path: Path) -> None:
    hub.repositories["a/m"] = MODEL
    out = tmp_path / "models" / "m" / "manifest.json"
    base_models.fetch_model(cell(hub="a/m", revision=COMMIT), out=out, stamp=FixedStamp(stage="fetch_model"))
    manifest = json.loads(out.read_text())
    assert sorted(manifest["files"]) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert manifest["revision"] == COMMIT
    assert manifest["stage"] == "fetch_model"
    downloaded = {p.name for p in (out.parent / manifest["folder"]).iterdir() if p.is_file()}
    assert downloaded == set(manifest["files"])
    weights = manifest["files"]["model.safetensors"]
    assert weights == {
        "bytes": len(MODEL["model.safetensors"]),
        "sha256": hashlib.sha256(MODEL["model.safetensors"]).hexdigest(),
    }
    assert checkpoints.read(out).content == manifest["content"]


def test_a_download_continues_after_a_broken_connection(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    hub.repositories["a/m"] = MODEL
    hub.cuts["model.safetensors"] = [300_000]
    out = tmp_path / "manifest.json"
    base_models.fetch_model(cell(hub="a/m", revision=COMMIT), out=out, stamp=FixedStamp())
    assert [asked for _, path, asked in hub.asked if path.endswith("model.safetensors") and asked] == [
        "bytes=300000-"
    ]
    assert (
        checkpoints.read(out).folder.joinpath("model.safetensors").read_bytes() == MODEL["model.safetensors"]
    )


def test_files_that_were_complete_before_a_failure_are_kept(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = json.dumps({"metadata": {}, "weight_map": {"one": shards[0], "two": shards[1]}}).encode()
    other_files = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors.index.json": index}
    weights = {shards[0]: safetensors("one", size=1000), shards[1]: safetensors("two", size=1000)}
    hub.repositories["a/m"] = {**other_files, **weights}
    hub.cuts[shards[1]] = [0] * 18  # six tries of the client in each of three attempts
    out = tmp_path / "manifest.json"
    with pytest.raises(SourceError, match=r"the hub cannot be reached.*complete files are kept"):
        base_models.fetch_model(cell(hub="a/m", revision=COMMIT), out=out, stamp=FixedStamp())
    assert not out.exists()
    downloaded = {p.name for p in (tmp_path / COMMIT[:12]).iterdir() if p.is_file()}
    hub.asked.clear()
    base_models.fetch_model(cell(hub="a/m", revision=COMMIT), out=out, stamp=FixedStamp())
    downloaded_again = {
        path.rpartition("/")[2] for command, path, _ in hub.asked if command == "GET" and "/resolve/" in path
    }
    assert shards[1] in downloaded_again
    assert not downloaded_again & downloaded
    assert sorted(json.loads(out.read_text())["files"]) == sorted(hub.repositories["a/m"])


def test_a_second_fetch_downloads_nothing_again(hub: Hub, tmp_path: Path) -> None:
    hub.repositories["a/m"] = MODEL
    out = tmp_path / "manifest.json"
    base_models.fetch_model(cell(hub="a/m", revision=COMMIT), out=out, stamp=FixedStamp())
    first = out.read_text()
    hub.asked.clear()
    base_models.fetch_model(cell(hub="a/m", revision=COMMIT), out=out, stamp=FixedStamp())
    assert out.read_text() == first
    assert not [path for command, path, _ in hub.asked if command == "GET" and "/resolve/" in path]


def test_weights_that_differ_from_the_hubs_checksum_are_refused(hub: Hub, tmp_path: Path) -> None:
    hub.repositories["a/m"] = MODEL
    out = tmp_path / "manifest.json"
    base_models.fetch_model(cell(hub="a/m", revision=COMMIT), out=out, stamp=FixedStamp())
    out.unlink()
    weights = tmp_path / COMMIT[:12] / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[::-1])
    with pytest.raises(SourceError, match="differs from the hub's checksum; delete the file"):
        base_models.fetch_model(cell(hub="a/m", revision=COMMIT), out=out, stamp=FixedStamp())
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "revision", "sentence"),
    [
        (
            "a/gated",
            COMMIT,
            r"access is restricted; accept the licence at https://huggingface.co/a/gated,.*HF_TOKEN",
        ),
        ("a/m", GONE, rf"revision {GONE} does not exist \(any more\); pin one"),
        ("a/nothing", COMMIT, "no such repository"),
        ("a/m", "main", "revision 'main' may move; pin a commit"),
        ("a/pickled", COMMIT, "contains no safetensors weights"),
    ],
)
def test_a_model_that_the_hub_refuses_is_reported_in_one_sentence(
    hub: Hub, tmp_path: Path, name: str, revision: str, sentence: str
) -> None:
    hub.repositories |= {
        "a/m": MODEL,
        "a/gated": MODEL,
        "a/pickled": {"config.json": b"{}", "pytorch_model.bin": b""},
    }
    hub.gated.add("a/gated")
    out = tmp_path / "manifest.json"
    with pytest.raises(SourceError, match=sentence) as caught:
        base_models.fetch_model(cell(hub=name, revision=revision), out=out, stamp=FixedStamp())
    assert "\n" not in str(caught.value)
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "revision", "sentence"),
    [
        ("a/gated", COMMIT, r"accept the licence at https://huggingface.co/datasets/a/gated,.*HF_TOKEN"),
        ("a/d", GONE, rf"revision {GONE} does not exist.*huggingface.co/datasets/a/d/commits/main"),
        ("a/nothing", COMMIT, "no such repository at https://huggingface.co/datasets/a/nothing"),
        ("a/d", "main", "revision 'main' may move; pin a commit"),
    ],
)
def test_a_data_set_that_the_hub_refuses_is_reported_in_one_sentence(
    hub: Hub, tmp_path: Path, name: str, revision: str, sentence: str
) -> None:
    data_set = files(Path(__file__).parents[2] / "fixtures/hub/tulu-3-sft-mixture")
    hub.repositories |= {"a/d": data_set, "a/gated": data_set}
    hub.gated.add("a/gated")
    cell = {
        "data": "d",
        "source": {"hub": name, "revision": revision},
        "settings": {"format": "messages", "seed": "0", "heldout": "0"},
    }
    out = tmp_path / "d.parquet"
    with pytest.raises(SourceError, match=sentence) as caught:
        instructions.fetch_instructions(cell, out=out, stamp=FixedStamp())
    assert "\n" not in str(caught.value)
    assert not out.exists()


def test_a_missing_network_is_reported_after_three_attempts(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UnreachableError, match="the hub cannot be reached"):
        base_models.fetch_model(
            cell(hub="a/m", revision=COMMIT), out=tmp_path / "manifest.json", stamp=FixedStamp()
        )
    assert re.findall(r"Asked again in (\d+) s", capsys.readouterr().out) == ["5", "10"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [(400, SourceError), (403, SourceError), (429, UnreachableError), (503, UnreachableError)],
)
def test_only_answers_that_may_change_let_the_hub_be_asked_again(
    status: int, expected: type[SourceError]
) -> None:
    response = httpx2.Response(status, request=httpx2.Request("GET", "https://huggingface.co/api"))
    with (
        pytest.raises(SourceError, match=r"a/m: the hub answered: no\.$") as caught,
        hub_errors("a/m", COMMIT, "models"),
    ):
        raise HfHubHTTPError("no.", response=response)
    assert type(caught.value) is expected


def test_a_full_disk_is_reported_before_and_during_the_download(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["a/m"] = MODEL
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
        with pytest.raises(SourceError, match=r"needs 0\.0 GB, but .* has 0\.0 GB free; free some space"):
            base_models.fetch_model(
                cell(hub="a/m", revision=COMMIT), out=tmp_path / "manifest.json", stamp=FixedStamp()
            )
    with pytest.raises(SourceError, match="the disk is full"), hub_errors("a/m", COMMIT, "models"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="denied"), hub_errors("a/m", COMMIT, "models"):
        raise OSError(errno.EACCES, "denied")


def test_only_one_configuration_of_a_hub_data_set_is_downloaded(hub: Hub, tmp_path: Path) -> None:
    root = Path(__file__).parents[2] / "fixtures/hub/Global-MMLU"
    hub.repositories["a/d"] = files(root)
    folder = sources.data_path({"hub": "a/d", "revision": COMMIT}, "yo")
    downloaded = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert downloaded == {"README.md", "yo/test-00000-of-00001.parquet", "yo/dev-00000-of-00001.parquet"}
    cell = {
        "benchmark": "b",
        "language": "yo",
        "source": {"hub": "a/d", "revision": COMMIT},
        "settings": {"format": "global-mmlu", "limit": None},
    }
    benchmarks.fetch_benchmark(cell, out=tmp_path / "yo.parquet", stamp=FixedStamp())
    metadata = records.metadata(tmp_path / "yo.parquet")
    assert metadata["questions"] == {"test": 24, "examples": 6}
    assert sorted(metadata["files"]) == ["yo/dev-00000-of-00001.parquet", "yo/test-00000-of-00001.parquet"]
    with pytest.raises(records.RecordError, match="no configuration 'xx'; the data set has en, fr, yo"):
        sources.data_path({"hub": "a/d", "revision": COMMIT}, "xx")


def test_model_files_contain_one_copy_of_the_weights() -> None:
    sharded = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    names = [
        *sharded,
        "model.safetensors.index.json",
        "consolidated.safetensors",
        "config.json",
        "vocab.json",
    ]
    expected = sorted([*sharded, "model.safetensors.index.json", "config.json", "vocab.json"])
    assert model_files(names, "a/m") == expected
    with pytest.raises(SourceError, match="contains no safetensors"):
        model_files(["adapter_model.safetensors", "config.json"], "a/m")
