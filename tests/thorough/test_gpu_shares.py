"""Shares of the peak from the file of ``make bench-gpu``, as its script writes it."""

import csv
import importlib
import sys
from pathlib import Path

import pytest
import torch

from polycal.study import cost_estimate, finished_jobs, gpu_benchmark
from polycal.study.config_loading import load
from polycal.study.gpu_benchmark import GpuBenchmarkError

ROOT = Path(__file__).parents[2]
PAPER = load([ROOT / "config/languages.yaml", ROOT / "config/config.yaml"])
CARD = "NVIDIA H200"


@pytest.fixture(scope="module")
def measured():
    """The figures that the script's parts step and scoring give for tiny sizes on the CPU: part, case, figures."""
    found = []

    class Recorder:
        def add(self, *figures):
            found.append(figures)

        def time_is_over(self, what):
            return False

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        model = importlib.import_module("gpu_model")
        for part in (model.run_step, model.run_scoring):
            part(Recorder(), torch.device("cpu"), True)
    return found


@pytest.fixture
def written(measured, monkeypatch, tmp_path):
    """Writes the figures with the script's own report, on a machine with the GPU ``card`` or without one."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")  # the script sets it, and the test removes it
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    script = importlib.import_module("gpu")

    def write(card=None, **replaced):
        path = tmp_path / "gpu.csv"
        report = script.Report(path, 1)
        with pytest.MonkeyPatch.context() as patch:
            if card is not None:
                patch.setattr(torch.cuda, "is_available", lambda: True)
                patch.setattr(torch.cuda, "get_device_name", lambda: card)
            for part, case, figures in measured:
                report.add(part, case, {name: replaced.get(name, value) for name, value in figures.items()})
        return path

    return write


def test_a_file_that_is_missing_or_was_written_without_a_gpu_has_no_shares(written, tmp_path):
    assert gpu_benchmark.read(tmp_path / "none.csv") == gpu_benchmark.MeasuredShares()
    path = written()
    assert "share of peak" in path.read_text()
    assert gpu_benchmark.read(path) == gpu_benchmark.MeasuredShares()


def test_shares_replace_the_assumed_ones_and_name_their_origin(written, measured):
    figures = {(part, case): one for part, case, one in measured}
    shares = gpu_benchmark.read(written(CARD, **{"share of peak": 0.5}))
    assert set(shares.tokens) == {60, 240}
    assert set(shares.conversations) == {1, 8}
    assert (
        set(shares.candidates)
        == {"letters", "texts"}
        == {case for part, case in figures if "," not in case and part == "scoring"}
    )
    before = {line.what: line for line in cost_estimate.estimate(PAPER)}
    after = {line.what: line for line in cost_estimate.estimate(PAPER, shares=shares)}
    for name in ("gemma-2-2b on alpaca, paper", "gemma-2-2b"):
        assert before[name].origin == "assumed"
        assert after[name].origin.startswith(f"50% of the peak as measured on {CARD} (")
        assert f"torch {torch.__version__}" in after[name].origin
    training = "gemma-2-2b on alpaca, paper"
    assert after[training].longest == pytest.approx(before[training].longest * 0.35 / 0.5)
    assert "by tokens, 240" in after[training].origin
    load_hours = PAPER.planning.load_seconds / 3600
    assert after["gemma-2-2b"].longest - load_hours == pytest.approx(
        (before["gemma-2-2b"].longest - load_hours) * 0.3 / 0.5
    )


def test_finished_jobs_count_more_than_the_benchmark(written):
    shares = gpu_benchmark.read(written(CARD, **{"share of peak": 0.5}))
    key = ("gemma-2-2b", "alpaca", "paper")
    finished = finished_jobs.FinishedJobs(training_seconds={key: [7200.0]})
    lines = {line.what: line for line in cost_estimate.estimate(PAPER, finished, shares)}
    assert lines["gemma-2-2b on alpaca, paper"].origin == "measured on 1 finished"
    assert lines["gemma-2-2b on alpaca, paper"].longest == 2.0


def test_only_the_card_that_was_measured_last_counts(written):
    written("NVIDIA A100", **{"share of peak": 0.25})
    shares = gpu_benchmark.read(written(CARD, **{"share of peak": 0.5}))
    assert {share.value for share in shares.tokens.values()} == {0.5}
    again = gpu_benchmark.read(written())
    assert again == shares


def test_smaller_micro_batches_than_measured_keep_the_assumption(written):
    shares = gpu_benchmark.read(written(CARD, **{"share of peak": 0.5}))
    recipe = PAPER.recipes["paper"]

    def of(**cut):
        empty = {"tokens_per_micro_batch": None, "micro_batch_size": None}
        return shares.of_training(recipe.model_copy(update={**empty, **cut}))

    assert of(tokens_per_micro_batch=59) is None
    assert of(tokens_per_micro_batch=239) is shares.tokens[60]
    assert of(micro_batch_size=7) is shares.conversations[1]
    assert of(micro_batch_size=16) is shares.conversations[8]


def test_a_broken_file_is_an_error_in_a_sentence(written):
    path = written(CARD, **{"share of peak": 1.5})
    with pytest.raises(GpuBenchmarkError, match=r"line \d+: the share of the peak is '1.5'; it must be"):
        gpu_benchmark.read(path)
    rows = list(csv.reader(path.open()))
    path.write_text("\n".join(",".join(row[:4]) for row in rows))
    with pytest.raises(GpuBenchmarkError, match="the column 'date' is missing; measure again"):
        gpu_benchmark.read(path)
