"""Locks between real processes: contention, a killed holder, a live holder, and a holder on another node."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace

import psutil
import pytest

from polycal.store import locks, slurm
from polycal.vocabulary import TRY_AGAIN

COUNT = """
import sys, time
from pathlib import Path
from polycal.store import locks
locks.POLL_SECONDS = 0.01
for _ in range(int(sys.argv[2])):
    with locks.acquire("count", Path(sys.argv[1])):
        path = Path(sys.argv[1])
        number = int(path.read_text()) if path.exists() else 0
        time.sleep(0.005)
        path.write_text(str(number + 1))
"""
HOLD = """
import sys, time
from pathlib import Path
from polycal.store import locks
locks.HEARTBEAT_SECONDS = 0.05
with locks.acquire("hold", Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(locks, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(locks, "STALE_AFTER_SECONDS", 0.5)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


@pytest.fixture
def holder(tmp_path):
    """A function that starts a process which holds the lock of ``out`` for a number of seconds."""
    started = []

    def start(seconds):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, tmp_path / "out", str(seconds)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_writers_take_turns(tmp_path):
    command = [sys.executable, "-c", COUNT, tmp_path / "out", "15"]
    writers = [subprocess.Popen(command) for _ in range(4)]
    assert [one.wait(60) for one in writers] == [0] * 4
    assert (tmp_path / "out").read_text() == "60"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_killed_holder_is_followed_at_once_and_by_one(tmp_path, holder, capsys):
    process = holder(60)
    process.kill()
    process.wait()
    command = [sys.executable, "-c", COUNT, tmp_path / "out", "5"]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [one.communicate(timeout=60)[0] for one in writers]
    assert (tmp_path / "out").read_text() == "20"
    assert "".join(said).count("took over the lock") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_live_holder_is_waited_for(tmp_path, holder, capsys):
    begun = time.monotonic()
    process = holder(1)
    with locks.acquire("next", tmp_path / "out"):
        assert time.monotonic() - begun >= 1
    assert f"process {process.pid}" in capsys.readouterr().out


def elsewhere(tmp_path):
    path = tmp_path / ".out.lock"
    path.write_text(json.dumps({**json.loads(path.read_text()), "host": "another node"}))


def test_a_holder_elsewhere_is_followed_after_its_heartbeat_stops(tmp_path, holder, capsys):
    process = holder(60)
    elsewhere(tmp_path)
    process.send_signal(signal.SIGSTOP)
    begun = time.monotonic()
    with locks.acquire("next", tmp_path / "out"):
        assert time.monotonic() - begun >= 0.5
        assert "no sign of life" in capsys.readouterr().out
        # a holder that continues after it lost its lock ends without a result
        process.send_signal(signal.SIGCONT)
        assert process.wait(10) == TRY_AGAIN
        assert "is another's" in process.stdout.read()


def test_a_holder_elsewhere_is_waited_for_while_its_heart_beats(tmp_path, holder):
    holder(1.5)
    elsewhere(tmp_path)
    begun = time.monotonic()
    with locks.acquire("next", tmp_path / "out"):
        assert time.monotonic() - begun >= 1


def test_a_file_that_names_no_holder_is_waited_for_until_it_is_old(tmp_path):
    (tmp_path / ".out.lock").write_text("")
    begun = time.monotonic()
    with locks.acquire("next", tmp_path / "out"):
        assert time.monotonic() - begun >= 0.5


def test_locks_work_where_the_file_system_has_no_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with locks.acquire("one", tmp_path / "out"):
        assert (tmp_path / ".out.lock").exists()
    assert not list(tmp_path.iterdir())


def test_the_lock_is_let_go_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), locks.acquire("one", tmp_path / "out", tmp_path / "more"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_one_that_would_rather_leave_does_so_where_the_holder_lives(tmp_path, holder):
    process = holder(60)
    with pytest.raises(locks.LockError, match=f"process {process.pid} on .* works here"):
        locks.acquire("next", tmp_path / "out", wait=False).__enter__()
    elsewhere(tmp_path)
    with pytest.raises(locks.LockError, match="works here"):
        locks.acquire("next", tmp_path / "out", wait=False).__enter__()
    process.kill()
    with locks.acquire("next", tmp_path / "out", wait=False):
        pass


def test_a_step_of_the_clock_gives_no_lock_of_a_living_process_away(tmp_path, holder, monkeypatch):
    """If the clock of a node is set, all its processes appear to have started at another time."""
    started = psutil.Process.create_time
    process = holder(60)
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: started(self) + 1)
    with pytest.raises(locks.LockError, match=f"process {process.pid} on .* works here"):
        locks.acquire("next", tmp_path / "out", wait=False).__enter__()


def test_a_process_number_that_another_process_got_is_no_holder(tmp_path, capsys):
    mine = locks._myself("gone")
    gone = {**asdict(mine), "pid": os.getppid(), "ticks": mine.ticks}
    (tmp_path / ".out.lock").write_text(json.dumps(gone))
    with locks.acquire("next", tmp_path / "out"):
        assert "its process is gone" in capsys.readouterr().out


def answer(monkeypatch, tmp_path, text):
    """Let squeue answer ``text`` from now on."""
    squeue = tmp_path / "bin/squeue"
    squeue.parent.mkdir(exist_ok=True)
    squeue.write_text(f"#!/bin/sh\necho '{text}'\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(squeue.parent), prepend=os.pathsep)


@pytest.mark.parametrize(("name", "gone"), [("theirs", True), ("ours", False), ("o|urs", False)])
def test_a_job_number_that_slurm_gave_to_another_job_is_no_holder(tmp_path, monkeypatch, name, gone):
    answer(monkeypatch, tmp_path, f"RUNNING|{name}")
    mine = locks._myself("next")
    holder = replace(mine, host="another node", job="7", job_name="ours" if name == "theirs" else name)
    assert bool(locks._gone(holder, mine, 10**6)) is gone


@pytest.mark.parametrize(("state", "silent"), [("RUNNING", 10**6), ("NODE_FAIL", 0)])
def test_a_job_is_known_by_its_name_in_slurm_and_not_in_the_environment(tmp_path, monkeypatch, state, silent):
    answer(monkeypatch, tmp_path, f"{state}|the name of the run")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_NAME", "python")  # as srun sets it
    slurm.job_name.cache_clear()
    holder = replace(locks._myself("score"), host="another node")
    slurm.job_name.cache_clear()
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    assert holder.job_name == "the name of the run"
    assert not locks._gone(holder, locks._myself("next"), silent)


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), OSError(30, "Read-only file system")]
)
def test_a_lock_that_cannot_be_written_is_a_sentence(tmp_path, monkeypatch, error):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(locks, "_claim", refuse)
    held = locks.acquire("score", tmp_path / "out")
    with pytest.raises(locks.LockError, match=r"\.out\.lock: the lock cannot be written") as caught:
        held.__enter__()
    assert "\n" not in str(caught.value)
