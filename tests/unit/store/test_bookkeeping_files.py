"""A broken file of ``polycal.store`` never blocks a cell.

Files may be empty, truncated, of another schema, or impossible to write.
"""

import json
import os
import time

import pytest

from polycal.artifacts import files
from polycal.audit import artifact_index, differences, snakemake_metadata
from polycal.store import acceptances, attempts, cache, code_versions, locks
from polycal.store.attempts import Attempt
from polycal.training import resume_state

KEY = "c" * 64
BROKEN = {
    "emptied": b"",
    "cut": b'{"began": 17',
    "zeroed": b"\0" * 40,
    "a list": b"[1, 2]",
    "another schema": b'{"format": 9, "files": 3, "modules": [1]}',
    "not text": b"\xff\xfe\xfa{}",
}


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return tmp_path / "results/.cache"


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_attempt_note_is_set_aside_and_the_attempt_begins(shelf, capsys, how):
    folder = shelf.parent / ".attempts" / KEY
    files.write_json(
        folder / "0.json", {"began": time.time() - 50, "ended": time.time(), "gpus": 0, "job": None}
    )
    (folder / "1.json").write_bytes(BROKEN[how])
    attempt = Attempt(shelf, KEY)
    assert attempt.earlier["attempts"]["failed"] == 1
    attempt.failed()
    assert not (folder / "1.json").exists()
    assert [path.read_bytes() for path in folder.glob("1.json.unreadable-*")] == [BROKEN[how]]
    assert capsys.readouterr().out.count("1.json: not the note of an attempt") == 1
    assert Attempt(shelf, KEY).earlier["attempts"]["failed"] == 2
    assert "not the note" not in capsys.readouterr().out


@pytest.mark.parametrize("how", BROKEN)
def test_a_cached_result_with_broken_checksums_is_not_used_and_can_be_cached_again(
    shelf, tmp_path, capsys, how
):
    (tmp_path / "x").write_text("result")
    cache.store(shelf, KEY, {"x": tmp_path / "x"})
    complete = cache.entry_dir(shelf, KEY) / cache.COMPLETE
    complete.write_bytes(BROKEN[how])
    assert not cache.restore_entry(shelf, KEY, {"x": tmp_path / "y"})
    assert not (tmp_path / "y").exists()
    cache.store(shelf, KEY, {"x": tmp_path / "x"})
    assert cache.restore_entry(shelf, KEY, {"x": tmp_path / "y"})
    if how != "another schema":
        assert f"{complete}: not the checksums of a cached result" in capsys.readouterr().out


def test_an_altered_file_of_the_cache_is_not_used_and_named(shelf, tmp_path, capsys):
    (tmp_path / "x").write_text("result")
    cache.store(shelf, KEY, {"x": tmp_path / "x"})
    path = cache.entry_dir(shelf, KEY) / "x"
    path.unlink()
    path.write_text("resulu")
    assert not cache.restore_entry(shelf, KEY, {"x": tmp_path / "y"})
    assert f"{path}: missing or altered" in capsys.readouterr().out


def test_what_cannot_be_written_is_said_and_the_result_is_there(tmp_path, capsys):
    """Files are in the place of the folders, so that not even root can write there."""
    results = tmp_path / "results"
    results.mkdir()
    for name in (".cache", ".events", ".versions", ".attempts"):
        (results / name).write_text("a file")
    with Attempt(results / ".cache", KEY):
        (results / "x").write_text("result")
    cache.store(results / ".cache", KEY, {"x": results / "x"})
    cache.log_event(results / ".cache", "computed", "score", {}, KEY)
    said = capsys.readouterr().out
    for words in (
        "this attempt is not counted",
        "not cached",
        "not logged",
        "version of score is not recorded",
    ):
        assert words in said
    assert (results / "x").read_text() == "result"


def test_a_full_disk_is_not_passed_over(shelf, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        Attempt(shelf, KEY)
    with pytest.raises(OSError, match="No space left"):
        cache.log_event(shelf, "computed", "score", {}, KEY)


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_record_of_a_version_is_passed_over(tmp_path, monkeypatch, how):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "results/.versions/score-0123456789ab.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(BROKEN[how])
    assert differences.code_changes("score", "0123456789ab", code_versions.code_version("score"))


def test_an_emptied_record_of_the_present_version_is_written_again(tmp_path):
    version = code_versions.code_version("score")
    path = tmp_path / f".versions/score-{version}.json"
    path.parent.mkdir()
    path.touch()
    cache.record_code_parts(tmp_path, "score")
    assert json.loads(path.read_text())["modules"]


@pytest.mark.parametrize("how", sorted(set(BROKEN) - {"not text"}))
def test_a_broken_lock_is_taken_over(tmp_path, monkeypatch, how):
    monkeypatch.setattr(locks, "STALE_AFTER_SECONDS", 0.1)
    monkeypatch.setattr(locks, "POLL_SECONDS", 0.02)
    lock = tmp_path / ".x.lock"
    lock.write_bytes(BROKEN[how])
    with locks.acquire("score", tmp_path / "x"):
        assert json.loads(lock.read_text())["stage"] == "score"
    assert not lock.exists()


@pytest.mark.parametrize("how", BROKEN)
def test_acceptances_are_a_persons_decision_and_are_refused_with_a_sentence(tmp_path, monkeypatch, how):
    monkeypatch.setattr(acceptances, "ACCEPTED", tmp_path / "accepted.yaml")
    (tmp_path / "accepted.yaml").write_bytes(BROKEN[how])
    if how == "emptied":
        assert acceptances.acceptances() == []
    else:
        with pytest.raises(acceptances.AcceptanceError, match=r"accepted\.yaml"):
            acceptances.acceptances()


@pytest.mark.parametrize("how", BROKEN)
def test_broken_notes_that_only_the_audit_reads_are_passed_over(tmp_path, monkeypatch, how):
    monkeypatch.chdir(tmp_path)
    sources = tmp_path / "results/studies/demo/provenance/sources.json"
    for path in (sources, sources.with_name("report.json"), tmp_path / "results/scores/manifest.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(BROKEN[how])
    artifact_index.ArtifactIndex(tmp_path / "results/studies/demo/x.md")
    known = tmp_path / snakemake_metadata.METADATA
    known.mkdir(parents=True)
    (known / "eA==").write_bytes(BROKEN[how])
    assert snakemake_metadata.inputs("x") is None


@pytest.mark.parametrize("how", BROKEN)
def test_a_state_with_a_broken_note_is_no_state(tmp_path, how):
    temporary = resume_state.begin(tmp_path, 4)
    (temporary / "x").write_text("1")
    folder = resume_state.commit(temporary, KEY, 4).folder
    (folder / resume_state.COMPLETE).write_bytes(BROKEN[how])
    assert resume_state.complete_states(tmp_path, KEY) == []


def test_a_heartbeat_survives_a_note_that_is_gone(shelf, monkeypatch):
    monkeypatch.setattr(attempts, "HEARTBEAT_SECONDS", 0.01)
    with Attempt(shelf, KEY) as attempt:
        attempt.file.unlink()
        time.sleep(0.1)
        attempt._write(attempt.record)
        os.utime(attempt.file, (0, 0))
        end = time.monotonic() + 20
        while attempt.file.stat().st_mtime == 0 and time.monotonic() < end:
            time.sleep(0.01)
        assert attempt.file.stat().st_mtime > 0


def test_content_is_flushed_before_the_rename_and_the_folder_after_it(tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr(os, "fsync", lambda handle: order.append(os.readlink(f"/proc/self/fd/{handle}")))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda old, new: (order.append("rename"), replace(old, new)))
    files.write_json(tmp_path / "x.json", {})
    assert [entry.endswith(".part") for entry in order] == [True, False, False]
    assert order[1:] == ["rename", str(tmp_path)]
    order.clear()
    files.write_json(tmp_path / "x.json", {}, durable=False)
    assert order == ["rename"]
