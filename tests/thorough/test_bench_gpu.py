"""The script of ``make bench-gpu`` from end to end, with tiny sizes."""

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/gpu.py"
LINE = re.compile(r" *\d+ s  (loss|step|scoring) +(.+?)  +(.+?) +(\S+)")


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """The lines that the script prints."""
    file = tmp_path_factory.mktemp("bench") / "gpu.csv"
    words = [sys.executable, SCRIPT, "--small", "--csv", file]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not file.exists(), "times of tiny sizes mean nothing"
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def figures(output):
    """part → case → quantity → value."""
    found = {}
    for line in output:
        if matched := LINE.fullmatch(line):
            part, case, quantity, value = matched.groups()
            found.setdefault(part, {}).setdefault(case, {})[quantity] = float(value)
    return found


def test_every_part_has_figures(figures):
    assert set(figures) == {"loss", "step", "scoring"}
    assert all(math.isfinite(v) for part in figures.values() for case in part.values() for v in case.values())


def test_each_side_of_the_loss_has_time_and_errors(figures):
    for case in figures["loss"].values():
        for side in ("own β=0.1", "own β=0", "PyTorch β=0.1"):
            assert case[f"{side}, ms"] > 0
            assert case[f"{side}, error of hidden states"] < 1e-2
            assert case[f"{side}, error of W"] < 1e-2
        assert case["own β=0.1, error of loss"] < 1e-6 < case["PyTorch β=0.1, error of loss"]


def test_an_implementation_that_is_missing_is_named(output, figures):
    sides = {name.partition(",")[0] for case in figures["loss"].values() for name in case}
    for name in ("liger", "cce", "trl"):
        assert any(name in side.lower() for side in sides) or any(
            "left out" in line and name in line.lower() for line in output
        ), name


def test_all_ways_to_cut_a_batch_compute_the_same_loss(figures):
    modes = {name: case for name, case in figures["step"].items() if "loss" in case}
    assert len(modes) == 4
    one = modes.pop("micro_batch 1")
    assert one["padding"] == 0
    for case in modes.values():
        assert case["loss"] == pytest.approx(one["loss"], rel=1e-3)
        assert case["micro-batches"] < one["micro-batches"]


def test_scoring_has_rates_and_differences(figures):
    for kind in ("letters", "texts"):
        assert figures["scoring"][kind]["questions/s"] > 0
        difference = figures["scoring"][f"{kind}, float32 - bfloat16"]
        assert 0 < difference["mean nats"] <= difference["largest nats"] < 1
