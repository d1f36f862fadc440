import json

import pytest

from polycal.artifacts import checkpoints, files, records
from polycal.store import cache, code_versions


def make(path, text, calls):
    def write(note):
        calls.append(note)
        path.write_text(text)

    return write


def test_finished_work_is_handed_out_and_changed_work_is_not(tmp_path):
    out, shelf, calls = tmp_path / "out.txt", tmp_path / "results/.kept", []

    def ask(cell, code="v1", reads=None):
        return cache.obtain(
            "score", cell, code, reads or {}, {"out": out}, shelf, make(out, cell["a"], calls)
        )

    assert ask({"a": "1"})
    out.unlink()
    assert not ask({"a": "1"})
    assert out.read_text() == "1"
    out.unlink()
    assert ask({"a": "2"})
    out.unlink()
    assert not ask({"a": "1"})
    assert out.read_text() == "1"
    out.unlink()
    assert ask({"a": "1"}, code="v2")
    out.unlink()
    assert ask({"a": "1"}, reads={"x": "1"})
    assert len(calls) == 4
    events = [json.loads(p.read_text())["event"] for p in sorted((tmp_path / "results/.events").iterdir())]
    assert events.count("computed") == 4
    assert events.count("handed out") == 2


def test_a_spoiled_result_is_made_again(tmp_path):
    out, shelf, calls = tmp_path / "out.txt", tmp_path / ".kept", []
    for _ in range(2):
        out.unlink(missing_ok=True)
        cache.obtain("score", {}, "v", {}, {"out": out}, shelf, make(out, "whole", calls))
        (spoiled,) = shelf.glob("*/*/out")
        spoiled.chmod(0o644)
        spoiled.write_text("wh")
    assert len(calls) == 2


def test_nothing_is_kept_of_work_that_failed(tmp_path):
    def fail(note):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.obtain("score", {}, "v", {}, {"out": tmp_path / "out"}, tmp_path / ".kept", fail)
    assert not list(tmp_path.glob(".kept/**/complete.json"))


def test_a_note_holds_no_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_planted_secret")
    out, calls = tmp_path / "out", []
    cache.obtain(
        "score", {"a": "1"}, "v", {"model": "m"}, {"out": out}, tmp_path / ".kept", make(out, "x", calls)
    )
    assert "hf_planted_secret" not in json.dumps(calls)
    assert {"commit", "lock", "host", "code_version", "fingerprint", "reads"} <= set(calls[0])
    assert all(b"hf_planted" not in p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())


def sources(monkeypatch, tmp_path, **texts):
    monkeypatch.setattr(code_versions, "PACKAGE", tmp_path)
    monkeypatch.setattr(code_versions, "STAGES", {"score": code_versions.Stage(("one",), ("torch",))})
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    code_versions._version.cache_clear()
    code_versions._parts.cache_clear()
    code_versions._tree.cache_clear()
    code_versions.locked.cache_clear()
    return code_versions.code_version("score")


def test_comments_change_no_version_and_code_far_away_does(tmp_path, monkeypatch):
    one, two = "from polycal import two\n", "import polycal.three\n"
    first = sources(monkeypatch, tmp_path, one=one, two=two, three="x = 1\n", four="y = 1\n")
    assert sources(monkeypatch, tmp_path, three='"""Doc."""\nx = 1  # why\n') == first
    assert sources(monkeypatch, tmp_path, four="y = 2\n") == first
    assert sources(monkeypatch, tmp_path, three="x = 2\n") != first


def test_a_version_follows_the_lock_of_its_runtime_only(tmp_path, monkeypatch):
    lock = tmp_path / "lock"
    monkeypatch.setattr(code_versions, "LOCK", lock)
    lock.write_text("torch==1.0\nseaborn==1.0\n")
    first = sources(monkeypatch, tmp_path, one="x = 1\n")
    lock.write_text("torch==1.0\nseaborn==2.0\n")
    assert sources(monkeypatch, tmp_path) == first
    lock.write_text("torch==2.0\nseaborn==2.0\n")
    assert sources(monkeypatch, tmp_path) != first


def test_an_acceptance_joins_two_versions(tmp_path, monkeypatch):
    accepted = tmp_path / "accepted.yaml"
    rest = {"because": "renamed", "author": "someone", "commit": "0" * 40, "date": "2026-01-01"}
    pairs = [("aaa", "bbb"), ("bbb", "ccc")]
    files.write_json(accepted, [{"stage": "score", "old": old, "new": new, **rest} for old, new in pairs])
    monkeypatch.setattr(code_versions, "ACCEPTED", accepted)
    assert code_versions.code_class("score", "ccc")[0] == "aaa"
    assert [e["old"] for e in code_versions.code_class("score", "ccc")[1]] == ["bbb", "aaa"]
    assert code_versions.code_class("score", "ddd") == ("ddd", [])


def test_a_checkpoint_is_its_parts_and_needs_weights(tmp_path):
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


QUESTION = {
    "question_id": "1",
    "group": "g",
    "question": "?",
    "options": ["a", "b"],
    "gold": 0,
    "split": "test",
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"options": ["a"]}, r"row 1 .*1 option"),
        ({"options": ["a", "", "c"]}, r"row 1 .*option 1 is empty"),
        ({"gold": 2}, r"row 1 .*gold is 2, but must be 0 to 1"),
        ({"split": "train"}, r"row 1 .*split is 'train'"),
        ({"question_id": "1"}, r"row 1 .*stands twice"),
    ],
)
def test_a_broken_question_is_named(tmp_path, change, words):
    records.write(tmp_path / "q", [QUESTION, {**QUESTION, "question_id": "2", **change}], records.QUESTION)
    with pytest.raises(records.RecordError, match=words):
        records.read_questions(tmp_path / "q")


def test_a_truncated_record_is_named_and_equal_rows_have_equal_bytes(tmp_path):
    first = records.write(tmp_path / "a", [QUESTION], records.QUESTION, {"x": 1})
    assert first == records.write(tmp_path / "b", [QUESTION], records.QUESTION, {"x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert records.metadata(tmp_path / "a") == {"x": 1, "content": first}
    (tmp_path / "a").write_bytes((tmp_path / "b").read_bytes()[:-20])
    with pytest.raises(records.RecordError, match="truncated"):
        records.read_questions(tmp_path / "a")
