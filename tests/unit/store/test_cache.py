"""The cache of results: which results are restored and which are computed again."""

import json

import pytest

from polycal.store import code_versions, run, stages
from polycal.store.manifest_schema import Manifest
from polycal.store.run import Job
from polycal.store.stages import Stage

CALLS = []


def write(cell, *, out, stamp):
    """The entry function of a stage that is made for these tests."""
    CALLS.append(dict(stamp()))
    if cell.get("fails"):
        raise ValueError("no")
    out.write_text(cell["a"])


@pytest.fixture(autouse=True)
def stage(monkeypatch):
    made = Stage("score", "Scores", "Score.", "tests:write", Manifest, output="out")
    monkeypatch.setitem(stages.STAGES, "score", made)
    monkeypatch.setattr(
        run, "load", lambda name: {"tests:write": write, "tests:checksums": lambda cell: cell["inputs"]}[name]
    )
    monkeypatch.setattr(code_versions, "code_version", lambda stage: VERSION[0])
    monkeypatch.setattr(code_versions, "parts", lambda stage: {})
    monkeypatch.setattr(code_versions, "check_loaded", lambda stage: None)
    VERSION[0] = "v1"
    CALLS.clear()
    return made


VERSION = ["v1"]


def ask(stage, folder, cell, version="v1"):
    """Run the stage, and return how often it was computed so far."""
    VERSION[0] = version
    out = folder / "out.txt"
    out.unlink(missing_ok=True)
    run.run(Job(stage, [cell], {}, [out], folder / "results/.cache"))
    assert out.read_text() == cell["a"]
    return len(CALLS)


def test_a_finished_result_is_restored_and_a_changed_one_is_computed(stage, tmp_path, monkeypatch):
    assert ask(stage, tmp_path, {"a": "1"}) == 1
    assert ask(stage, tmp_path, {"a": "1"}) == 1
    assert ask(stage, tmp_path, {"a": "2"}) == 2
    assert ask(stage, tmp_path, {"a": "1"}) == 2
    assert ask(stage, tmp_path, {"a": "1"}, version="v2") == 3
    reading = Stage(**{**vars(stage), "checksums": "tests:checksums"})
    assert ask(reading, tmp_path, {"a": "1", "inputs": {"x": "1"}}) == 4
    assert ask(reading, tmp_path, {"a": "1", "inputs": {"x": "1"}}) == 4
    events = [json.loads(p.read_text())["event"] for p in sorted((tmp_path / "results/.events").iterdir())]
    assert events.count("computed") == 4
    assert events.count("restored") == 3


def test_a_changed_input_is_computed_again(stage, tmp_path):
    reading = Stage(**{**vars(stage), "checksums": "tests:checksums"})
    assert ask(reading, tmp_path, {"a": "1", "inputs": {"x": "1"}}) == 1
    assert ask(reading, tmp_path, {"a": "1", "inputs": {"x": "2"}}) == 2


def test_a_spoiled_result_is_made_again(stage, tmp_path):
    for number in (1, 2):
        assert ask(stage, tmp_path, {"a": "whole"}) == number
        (spoiled,) = tmp_path.glob("results/.cache/*/*/out")
        spoiled.chmod(0o644)
        spoiled.write_text("wh")


def test_nothing_is_cached_of_work_that_failed(stage, tmp_path):
    with pytest.raises(ValueError, match="no"):
        ask(stage, tmp_path, {"a": "1", "fails": True})
    assert not list(tmp_path.glob("results/.cache/**/complete.json"))


def test_a_run_record_holds_no_environment(stage, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_planted_secret")
    ask(stage, tmp_path, {"a": "1"})
    assert "hf_planted_secret" not in json.dumps(CALLS)
    assert {"commit", "lock", "host", "code_version", "fingerprint", "reads", "cost"} <= set(CALLS[0])
    assert all(b"hf_planted" not in p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
