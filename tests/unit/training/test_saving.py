"""When the state of a training is saved."""

import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from polycal.training import saving

ARGS, STATE = SimpleNamespace(world_size=1), SimpleNamespace(is_world_process_zero=True)


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(saving.time, "monotonic", lambda: now.seconds)
    return now


@pytest.fixture
def make(clock):
    made = []

    def create(seconds):
        made.append(saving.SaveOnSignal(seconds))
        made[-1].on_train_begin(ARGS, STATE, None)
        return made[-1]

    yield create
    for one in reversed(made):
        one.release()


def step(callback, clock, seconds, saves):
    """A step of ``seconds``, and a save of ``saves`` seconds if one is requested. Returns whether it was."""
    control = SimpleNamespace(should_save=False, should_training_stop=False)
    clock.seconds += seconds
    callback.on_step_end(ARGS, STATE, control)
    if control.should_save:
        clock.seconds += saves
        callback.on_save(ARGS, STATE, control)
    return control.should_save


def test_at_most_three_percent_of_the_time_is_spent_on_saving(make, clock):
    callback = make(600)
    began, saved = clock.seconds, 0
    for _ in range(2000):
        saved += step(callback, clock, 10, 40)
    assert saved > 10
    assert callback.spent == 40 * saved
    # the first interval is as asked for, because no save was measured yet
    assert 40 * (saved - 1) <= 0.03 * (clock.seconds - began)


def test_a_fast_save_leaves_the_interval_and_a_short_interval_is_kept(make, clock):
    callback = make(600)
    assert [step(callback, clock, 300, 5) for _ in range(4)] == [False, True, False, True]
    every = make(0)
    assert all(step(every, clock, 1, 50) for _ in range(3))


def test_a_warning_that_is_too_short_for_a_save_is_said_once(make, clock, capsys):
    callback = make(0)
    for _ in range(3):
        step(callback, clock, 20, 270)
    assert capsys.readouterr().out == ""
    for _ in range(3):
        step(callback, clock, 40, 270)
    assert capsys.readouterr().out == (
        "a step and a save take up to 310 s, but Slurm warns 300 s before the time limit; set slurm_extra in"
        " profiles/slurm to --signal=TERM@620, or work since the last save may be lost.\n"
    )


def test_the_warning_is_that_of_the_profile():
    profile = Path(__file__).parents[3] / "profiles/slurm/profile.v9+.yaml"
    assert f"--signal=TERM@{saving.WARNING:.0f}" in profile.read_text()


def test_a_signal_saves_and_stops(make, clock):
    callback = make(600)
    signal.raise_signal(signal.SIGUSR1)
    assert step(callback, clock, 1, 1)
    assert callback.stopped
