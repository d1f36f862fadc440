"""What a training says of its speed."""

import numpy as np
import pytest
import torch
from helpers import families
from torch.utils.flop_counter import FlopCounterMode

from polycal.training import speed
from polycal.training.micro_batches import PADDING_ROW
from polycal.training.speed import ModelSize, Work

LENGTHS, TARGETS = np.array([2, 4, 3]), np.array([1, 2, 3])


def test_work_counts_tokens_with_and_without_padding():
    steps = [[[0, 1], [2, PADDING_ROW]], [[2]]]
    padded = speed.work(LENGTHS, TARGETS, steps, padded=True, ranks=1)
    assert padded == Work(tokens=12, targets=9, computed=2 * 4 + 2 * 3 + 3, pairs=4 + 16 + 9 + 9)
    packed = speed.work(LENGTHS, TARGETS, [[[0, 1], [2]], [[2]]], padded=False, ranks=1)
    assert packed == Work(tokens=12, targets=9, computed=12, pairs=38)
    # the second of two ranks has an empty micro-batch of one token in the second step
    assert speed.work(LENGTHS, TARGETS, [[[0, 1], [2]], [[2]]], padded=False, ranks=2).computed == 13


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_the_flops_of_a_model_are_those_that_pytorch_counts(name):
    model = families.build(name)
    model.set_attn_implementation("eager")
    ids = torch.arange(40)[None]
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, use_cache=False).logits.sum().backward()
    expected = ModelSize.of(model).flops(Work(tokens=40, targets=40, computed=40, pairs=1600))
    assert expected == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_speed_is_a_share_of_the_peak_only_where_the_peak_is_known(monkeypatch):
    size, done = ModelSize(body=10**9, head=0, attention=0), Work(tokens=1000, computed=1250)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = speed.facts(size, done, seconds=2, saving=0.5, ranks=2, precision="bfloat16")
    assert found["tokens_per_second"] == 500
    assert found["flops_per_second"] == 3e12
    assert found["mfu"] is None
    assert (found["padding_share"], found["saving_share"]) == (pytest.approx(0.2), 0.2)
    assert speed.sentence(found) == (
        "trained 500 tokens/s, 3 TFLOP/s; padding 20% of the tokens, saving 20.0% of the time"
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA A100-SXM4-80GB")
    known = speed.facts(size, done, seconds=2, saving=0, ranks=2, precision="bfloat16")
    assert known["mfu"] == pytest.approx(3 / (2 * 312))
    assert "(0% of the peak)" in speed.sentence(known)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "unheard of")
    assert speed.peak_flops("bfloat16") is None
