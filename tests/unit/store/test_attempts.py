"""The final result of a cell includes the cost of failed attempts."""

import json
import os
import stat
import time

import pytest

from polycal.store import attempts, manifest_schema, provenance, slurm
from polycal.store.attempts import Attempt

KEY = "f" * 64


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path / "results/.cache"


def attempt_that_died(cache, seconds, **note):
    """Write the record of an attempt that was killed after ``seconds``."""
    left = Attempt(cache, KEY)
    left.stop.set()
    left.file.write_text(json.dumps({"began": time.time() - 1000, "gpus": 0, "job": None, **note}))
    os.utime(left.file, (time.time() - 1000 + seconds,) * 2)


def test_a_first_attempt_that_succeeds_leaves_nothing(cache):
    with Attempt(cache, KEY) as attempt:
        assert attempt.earlier == {}
        assert attempt.file.exists()
    assert not list(cache.parent.rglob("*.json"))


def test_failed_and_killed_attempts_are_counted_once_by_the_one_that_succeeds(cache, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(provenance.METER, "since", time.time() - 60)
    with pytest.raises(SystemExit), Attempt(cache, KEY):
        raise SystemExit(3)
    attempt_that_died(cache, 100, gpus=4)
    with Attempt(cache, KEY) as attempt:
        said = attempt.earlier["attempts"]
    assert said["failed"] == 2
    assert said["wall_seconds"] == pytest.approx(160, abs=5)
    assert said["gpu_seconds"] == pytest.approx(2 * 60 + 4 * 100, abs=20)
    assert manifest_schema.Attempts.model_validate(said)
    assert Attempt(cache, KEY).earlier == {}
    assert Attempt(cache, "0" * 64).earlier == {}


def test_an_attempt_shows_that_it_lives(cache, monkeypatch):
    monkeypatch.setattr(attempts, "HEARTBEAT_SECONDS", 0.01)
    with Attempt(cache, KEY) as attempt:
        os.utime(attempt.file, (0, 0))
        end = time.monotonic() + 5
        while attempt.file.stat().st_mtime == 0 and time.monotonic() < end:
            time.sleep(0.01)
        assert attempt.file.stat().st_mtime > time.time() - 60


# output of sacct 22.05 for ElapsedRaw,AllocTRES → seconds of the job and of its GPUs, or None: jobs with GPUs, without
# GPUs, that never ran, and that accounting does not know
SAID = {
    "37|billing=2,cpu=2,gres/gpu:fake=2,gres/gpu=2,mem=1000M,node=1": (37, 74),
    "5|billing=1,cpu=1,mem=500M,node=1": (5, 0),
    "0|": (0, 0),
    "": None,
}


@pytest.mark.parametrize("said", SAID)
def test_what_a_killed_attempt_cost_slurm_tells_first(cache, tmp_path, monkeypatch, said):
    sacct = tmp_path / "bin/sacct"
    sacct.parent.mkdir()
    sacct.write_text(f"#!/bin/sh\necho '{said}'\n")
    sacct.chmod(sacct.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(sacct.parent), prepend=os.pathsep)
    assert slurm.accounted_seconds("7") == SAID[said]
    attempt_that_died(cache, 100, gpus=1, job="7")
    seconds, devices = SAID[said] or (100, 100)
    attempts = Attempt(cache, KEY).earlier["attempts"]
    assert attempts["wall_seconds"] == pytest.approx(seconds, abs=1)
    assert attempts["gpu_seconds"] == pytest.approx(devices, abs=1)


def test_without_a_shelf_nothing_is_noted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Attempt(None, KEY) as attempt:
        assert attempt.earlier == {}
    assert list(tmp_path.iterdir()) == []
