import pytest

from polycal import progress


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

    monkeypatch.setattr(progress.time, "monotonic", lambda: Clock.now)
    return Clock


def test_a_line_every_few_seconds_and_one_at_the_end(clock, capsys):
    line = progress.ProgressLine("de", 100)
    for seconds, amount in ((1, 10), (6, 20), (7, 20), (10, 50)):
        clock.now = 100.0 + seconds
        line(amount)
    assert capsys.readouterr().err.splitlines() == [
        "de: 30/100 tokens, 5.00/s, 14 s left",
        "de: 100/100 tokens, 10/s, 0 s left",
    ]


def test_work_of_an_earlier_run_counts_as_done_but_not_for_the_rate(clock, capsys):
    line = progress.ProgressLine("training", 60, "steps", done=40)
    clock.now = 105.0
    line(10, ", loss 1.5")
    assert capsys.readouterr().err == "training: 50/60 steps, 2.00/s, 5 s left, loss 1.5\n"


def test_without_a_name_nothing_is_printed(clock, capsys):
    progress.ProgressLine("", 1)(1)
    assert capsys.readouterr().err == ""
