"""The launcher of ranks: their environment, signals and exit codes."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from polycal.training import launcher

SAY = """
import json, os, pathlib, sys
names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
pathlib.Path(sys.argv[1], os.environ["RANK"]).write_text(json.dumps({n: os.environ[n] for n in names}))
"""
WAIT = """
import os, pathlib, signal, sys, time
def leave(*_): sys.exit(75)
signal.signal(signal.SIGUSR1, leave)
signal.signal(signal.SIGTERM, leave)
pathlib.Path(sys.argv[1], os.environ["RANK"]).write_text(str(os.getpid()))
time.sleep(60)
"""


def end(code):
    """The command of a rank that ends with the exit code of its number in ``code``, or by a signal if it is negative."""
    return [sys.executable, "-c", f"import os; codes = {code}; c = codes[int(os.environ['RANK'])]\n"
            "os.kill(os.getpid(), -c) if c < 0 else os._exit(c)"]  # fmt: skip


def test_each_rank_knows_its_place(tmp_path):
    assert launcher.run([sys.executable, "-c", SAY, str(tmp_path)], 3) == 0
    found = [json.loads((tmp_path / str(rank)).read_text()) for rank in range(3)]
    assert [one["LOCAL_RANK"] for one in found] == ["0", "1", "2"]
    assert {one["WORLD_SIZE"] for one in found} == {"3"}
    assert len({(one["MASTER_ADDR"], one["MASTER_PORT"]) for one in found}) == 1


@pytest.mark.parametrize(
    ("codes", "expected"), [([0, 0], 0), ([75, 75], 75), ([0, 75], 75), ([75, 3], 3), ([-9, 75], 137)]
)
def test_the_worst_code_comes_back(codes, expected):
    assert launcher.run(end(codes), 2) == expected


def pids(folder, ranks):
    until = time.monotonic() + 30
    while len(list(folder.iterdir())) < ranks or not all(p.read_text() for p in folder.iterdir()):
        assert time.monotonic() < until
        time.sleep(0.05)
    return [int(path.read_text()) for path in folder.iterdir()]


def started(folder):
    words = [
        sys.executable,
        "-m",
        "polycal.training.launcher",
        "--ranks=2",
        "--",
        sys.executable,
        "-c",
        WAIT,
        str(folder),
    ]
    run = subprocess.Popen(words)
    return run, pids(folder, 2)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_signals_go_on_to_all_ranks_and_their_code_comes_back(tmp_path, number):
    run, found = started(tmp_path)
    run.send_signal(number)
    assert run.wait(30) == 75
    assert not any(alive(pid) for pid in found)


def test_no_rank_outlives_its_launcher(tmp_path):
    run, found = started(tmp_path)
    run.kill()
    run.wait(30)
    until = time.monotonic() + 10
    while any(alive(pid) for pid in found):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_rank_that_dies_takes_the_others_with_it(tmp_path):
    run, found = started(tmp_path)
    os.kill(found[0], signal.SIGKILL)
    assert run.wait(30) == 137
    assert not any(alive(pid) for pid in found)


def test_another_node_waits_for_the_first_and_gives_up_in_a_sentence(tmp_path):
    with pytest.raises(launcher.LaunchError, match="the first node wrote no address within 0 seconds"):
        launcher.run(["true"], 1, nodes=2, node=1, rendezvous=tmp_path / "none.json", patience=0.3)
    with pytest.raises(launcher.LaunchError, match="need --rendezvous"):
        launcher.run(["true"], 1, nodes=2, node=1)


def test_several_nodes_need_a_job_and_its_batch_step(tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(launcher.LaunchError, match="this is no Slurm job: submit it with --nodes=2"):
        launcher.over_nodes(["true"], 1, 2, tmp_path)
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    with pytest.raises(launcher.LaunchError, match="give the model training_nodes"):
        launcher.over_nodes(["true"], 1, 2, tmp_path)
    monkeypatch.delenv("SLURM_STEP_ID")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(launcher.LaunchError, match="there is no srun on this machine"):
        launcher.over_nodes(["true"], 1, 2, tmp_path)


FAKE_SRUN = """#!/bin/sh
while [ "${1#--}" != "$1" ]; do shift; done
SLURM_NODEID=1 "$@" & other=$!
SLURM_NODEID=0 "$@" & first=$!
trap 'kill -USR1 $first $other' USR1
trap 'kill -KILL $first $other; exit 9' TERM INT
wait $first; wait $first; code=$?; wait $other; exit $code
"""


def test_what_several_nodes_are_sent_reaches_them_as_the_signal_that_srun_hands_on(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/srun").write_text(FAKE_SRUN)
    (tmp_path / "bin/srun").chmod(0o755)
    (tmp_path / "said").mkdir()
    (tmp_path / ".rendezvous-left.json").write_text("{}")
    words = [sys.executable, "-c", WAIT, str(tmp_path / "said")]
    call = f"launcher.over_nodes({words!r}, 1, 2, pathlib.Path({str(tmp_path)!r}))"
    script = f"import pathlib, sys; from polycal.training import launcher; sys.exit({call})"
    environment = {**os.environ, "SLURM_JOB_ID": "1", "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    run = subprocess.Popen([sys.executable, "-c", script], env=environment)
    found = pids(tmp_path / "said", 2)
    run.send_signal(signal.SIGTERM)
    assert run.wait(30) == 75
    assert not any(alive(pid) for pid in found)
    assert not list(tmp_path.glob(".rendezvous-*"))
