"""Training that was stopped goes on to the same bits, and the number of ranks changes a result by rounding only."""

import json
import os
import shutil
import signal
import time

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import training
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    training.prepare(folder)
    return folder


def weights(folder, name):
    said = json.loads((folder / name / "manifest.json").read_text())
    return load_file(folder / name / said["folder"] / "model.safetensors")


def curve(folder, name):
    said = json.loads((folder / name / "manifest.json").read_text())
    return pd.read_csv((folder / name / said["folder"]).parent / "loss.csv")


def states(folder, name):
    return sorted(
        path for path in folder.glob(f"{name}/*/state/step-*") if (path / "complete.json").is_file()
    )


def stop(folder, name, number, steps=2, **how):
    """Send a signal as soon as ``steps`` states were saved; the code that the run ended with."""
    run = training.start(folder, name, minutes=0, **how)
    until = time.monotonic() + 300
    while not any(int(path.name.split("-")[1]) >= steps for path in states(folder, name)):
        assert run.poll() is None, run.stdout.read()
        assert time.monotonic() < until
        time.sleep(0.01)
    run.send_signal(number)
    run.communicate(timeout=120)
    assert not (folder / name / "manifest.json").exists()
    return run.returncode


LONG = {"epochs": "30", "dropout": "0.1"}


BY_TOKENS = {"micro_batch_size": None, "tokens_per_micro_batch": 130}
"""One or two of the conversations fit into a micro-batch, so steps have different numbers of micro-batches."""


@pytest.mark.parametrize(
    ("ranks", "zero", "number", "batch"),
    [
        (1, 0, signal.SIGKILL, {}),
        (2, 2, signal.SIGTERM, {}),
        (2, 3, signal.SIGKILL, {}),
        (1, 2, signal.SIGKILL, BY_TOKENS),
        (2, 3, signal.SIGTERM, BY_TOKENS),
    ],
)
def test_a_stopped_run_goes_on_to_the_same_bits(given, ranks, zero, number, batch):
    how = {"ranks": ranks, "zero": zero, **LONG, **batch}
    kind = f"{ranks}-{zero}" + ("-tokens" if batch else "")
    whole, name = f"whole-{kind}", f"stopped-{kind}"
    expected, _ = training.train(given, whole, **how)
    code = stop(given, name, number, **how)
    assert code == (75 if number == signal.SIGTERM else -9)
    [left] = states(given, name)[-1:]
    assert json.loads((left / "complete.json").read_text())["fingerprint"] == expected["fingerprint"]
    said, printed = training.train(given, name, **how)
    assert f"resumes from step {said['resumed_at']}" in printed
    assert 0 < said["resumed_at"] < said["steps"] == 60
    assert said["content"] == expected["content"]
    pd.testing.assert_frame_equal(curve(given, name), curve(given, whole))
    assert not states(given, name)


def test_a_broken_state_and_one_of_another_cell_are_not_used(given):
    how = {"ranks": 1, "zero": 0, **LONG}
    expected = json.loads((given / "whole-1-0/manifest.json").read_text())
    stop(given, "broken", signal.SIGTERM, **how)
    [left] = states(given, "broken")
    foreign = shutil.copytree(left, left.with_name("step-50"))
    note = json.loads((foreign / "complete.json").read_text())
    (foreign / "complete.json").write_text(json.dumps({**note, "fingerprint": "f" * 64, "step": 50}))
    next(left.glob("rng_state*")).unlink()
    said, printed = training.train(given, "broken", **how)
    assert said["resumed_at"] is None
    assert "resumes" not in printed
    assert said["content"] == expected["content"]


def test_another_number_of_ranks_starts_the_cell_again_and_says_so(given):
    stop(given, "ranks", signal.SIGTERM, ranks=2, zero=2, **LONG)
    said, printed = training.train(given, "ranks", ranks=1, zero=2, **LONG)
    assert "this run has 1 at stage 2: the cell starts again" in printed
    assert (said["resumed_at"], said["ranks"]) == (None, 1)


def test_a_signal_that_reaches_one_rank_stops_all(given):
    run = training.start(given, "one", ranks=2, zero=2, minutes=0, **LONG)
    until = time.monotonic() + 300
    while not states(given, "one"):
        assert run.poll() is None, run.stdout.read()
        assert time.monotonic() < until
        time.sleep(0.01)
    children = [int(c) for c in open(f"/proc/{run.pid}/task/{run.pid}/children").read().split()]  # noqa: SIM115
    os.kill(children[-1], signal.SIGUSR1)
    said, _ = run.communicate(timeout=120)
    assert run.returncode == 75, said


def test_under_zero_3_the_type_of_the_saved_weights_changes_no_bit(tmp_path):
    """Weights in bfloat16 are widened one by one while they are partitioned, those in float32 are not."""
    training.prepare(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "llama", dtype=torch.bfloat16)
    found = []
    for kind in ("bfloat16", "float32"):
        model.to(getattr(torch, kind)).save_pretrained(tmp_path / "llama")
        said, _ = training.train(tmp_path, kind, ranks=2, zero=3, **BY_TOKENS)
        found.append([said[fact] for fact in ("content", "self_check", "nll_last", "heldout_nll")])
    assert found[0] == found[1]


SPLITS = [(1, 1, 2), (2, 1, 0), (2, 1, 2), (2, 1, 3), (4, 1, 2)]


def test_the_split_of_a_global_batch_changes_a_result_by_rounding_only(given):
    """1 rank of 4 micro-batches, 2 of 2, 4 of 1; six conversations do not divide by the batch of four."""
    first = None
    for ranks, micro, zero in SPLITS:
        name = f"split-{ranks}-{zero}"
        training.train(given, name, ranks=ranks, zero=zero, micro_batch_size=micro)
        losses, trained = curve(given, name), weights(given, name)
        if first is None:
            first = losses, trained
            continue
        np.testing.assert_allclose(losses.loss, first[0].loss, rtol=1e-5)
        for key, value in first[1].items():
            assert np.linalg.norm(trained[key] - value) <= 1e-6 * np.linalg.norm(value), (name, key)


def test_micro_batches_by_tokens_change_a_result_by_rounding_only(given):
    """On any number of ranks, also if a rank has no micro-batch left in a step."""
    training.train(given, "single", micro_batch_size=1)
    expected, trained = curve(given, "single"), weights(given, "single")
    for ranks, zero in [(1, 0), (1, 2), (2, 2), (2, 3)]:
        name = f"tokens-{ranks}-{zero}"
        said, _ = training.train(given, name, ranks=ranks, zero=zero, **BY_TOKENS)
        assert (said["tokens_per_micro_batch"], "micro_batch_size" in said) == (130, False)
        losses = curve(given, name)
        np.testing.assert_allclose(losses.loss, expected.loss, rtol=1e-5)
        assert list(losses.targets) == list(expected.targets)
        if zero:
            # of the first step, before the weights differ; DeepSpeed gives no norm at stage 0
            assert losses.grad_norm[0] == pytest.approx(expected.grad_norm[0], rel=1e-6)
        for key, value in weights(given, name).items():
            assert np.linalg.norm(trained[key] - value) <= 1e-5 * np.linalg.norm(value), (name, key)
    one, two = (weights(given, f"tokens-{ranks}-2") for ranks in (1, 2))
    for key, value in one.items():
        assert np.linalg.norm(two[key] - value) <= 1e-6 * np.linalg.norm(value), key


@pytest.mark.parametrize("batch", [{}, BY_TOKENS])
def test_dropout_is_drawn_for_each_micro_batch_whatever_the_ranks(given, batch):
    """Micro-batches of another size draw other dropout."""
    kind = "-tokens" if batch else ""
    for ranks in (1, 2):
        training.train(given, f"dropout-{ranks}{kind}", ranks=ranks, dropout="0.2", **batch)
    one, two = curve(given, f"dropout-1{kind}"), curve(given, f"dropout-2{kind}")
    np.testing.assert_allclose(two.loss, one.loss, rtol=1e-5)
    undropped = curve(given, "split-1-2")
    assert not np.allclose(one.loss, undropped.loss, rtol=1e-3)
    if batch:
        assert not np.allclose(one.loss, curve(given, "dropout-1").loss, rtol=1e-3)
