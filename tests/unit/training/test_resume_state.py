"""A training state is either complete or does not exist."""

import hashlib
import json

import pytest

from polycal.training import resume_state

MINE, OTHER = "a" * 64, "b" * 64


def save(folder, step, fingerprint=MINE, **note):
    place = resume_state.begin(folder, step)
    (place / "part").mkdir()
    (place / "part/optimizer.pt").write_bytes(b"x" * 100)
    (place / "rng_state.pth").write_bytes(b"y")
    return resume_state.commit(place, fingerprint, step, ranks=1, **note)


def test_what_was_sealed_is_found_oldest_first_with_its_note(tmp_path):
    for step in (20, 3):
        save(tmp_path, step, seconds=1.5)
    found = resume_state.complete_states(tmp_path, MINE)
    assert [one.step for one in found] == [3, 20]
    assert found[0].note["seconds"] == 1.5
    assert found[0].note["files"] == {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in {"part/optimizer.pt": b"x" * 100, "rng_state.pth": b"y"}.items()
    }
    assert resume_state.complete_states(tmp_path / "none", MINE) == []


@pytest.mark.parametrize(
    "broken", ["truncated", "missing", "no complete.json", "not JSON", "not yet renamed"]
)
def test_a_broken_state_does_not_exist_and_the_one_before_stands(tmp_path, broken):
    save(tmp_path, 1)
    folder = save(tmp_path, 2).folder
    if broken == "truncated":
        (folder / "part/optimizer.pt").write_bytes(b"x" * 99)
    elif broken == "missing":
        (folder / "rng_state.pth").unlink()
    elif broken == "no complete.json":
        (folder / "complete.json").unlink()
    elif broken == "not JSON":
        (folder / "complete.json").write_text('{"step": 2')
    else:
        folder.rename(tmp_path / ".step-2.part")
    assert [one.step for one in resume_state.complete_states(tmp_path, MINE)] == [1]
    resume_state.prune(tmp_path, MINE, resume_state.complete_states(tmp_path, MINE))
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]


def test_a_state_of_another_fingerprint_is_neither_used_nor_touched(tmp_path):
    theirs = save(tmp_path, 9, OTHER)
    mine = save(tmp_path, 4)
    save(tmp_path, 3)
    assert [one.step for one in resume_state.complete_states(tmp_path, MINE)] == [3, 4]
    resume_state.prune(tmp_path, MINE, [mine])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-4", "step-9"]
    assert resume_state.read(theirs.folder).note["fingerprint"] == OTHER


def test_sealing_over_a_broken_state_of_the_same_step_replaces_it(tmp_path):
    (save(tmp_path, 5).folder / "rng_state.pth").unlink()
    assert save(tmp_path, 5).folder == tmp_path / "step-5"
    assert json.loads((tmp_path / "step-5/complete.json").read_text())["step"] == 5
    assert [one.step for one in resume_state.complete_states(tmp_path, MINE)] == [5]


def test_a_state_altered_without_a_change_of_size_is_not_resumed_and_named(tmp_path, capsys):
    states = [save(tmp_path, step) for step in (1, 2)]
    assert resume_state.newest_intact(states) == states[1]
    assert capsys.readouterr().out == ""
    path = states[1].folder / "part/optimizer.pt"
    path.write_bytes(b"x" * 18 + b"z" * 64 + b"x" * 18)
    assert resume_state.complete_states(tmp_path, MINE) == states
    assert resume_state.newest_intact(states) == states[0]
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert f"{path}: altered since it was saved" in said
    (states[0].folder / "rng_state.pth").write_bytes(b"z")
    assert resume_state.newest_intact(states) is None
