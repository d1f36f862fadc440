"""The message about a training with NaN or infinity names what is not finite. tests/thorough trains such cells."""

import math
from pathlib import Path

import pytest
import torch

from polycal.training import divergence

FINITE = {"loss": 1.5, "nll": 1.2, "grad_norm": 3.0}


@pytest.mark.parametrize(
    ("change", "skipped", "weights", "what"),
    [
        ({}, 0, True, []),
        ({"loss": math.nan}, 0, True, ["the loss"]),
        ({"nll": math.inf}, 0, True, ["the loss"]),
        ({"grad_norm": math.nan}, 0, True, ["the gradient"]),
        ({"grad_norm": -1.0}, 0, True, ["the gradient"]),
        ({}, 1, True, ["the gradient"]),
        ({}, 0, False, ["the weights"]),
    ],
)
def test_what_is_not_finite_is_named(change, skipped, weights, what):
    assert divergence.not_finite({**FINITE, **change}, skipped, weights) == what


def test_the_sentence_names_cell_step_rate_and_last_finite_loss():
    history = [{"loss": 5.25, "nll": 5.0}, {"train_loss": 1.0}]
    error = divergence.error(Path("results/lr=1"), (3, 8), 1.0, ["the loss", "the weights"], history)
    assert str(error) == (
        "results/lr=1: training diverged in step 3 of 8 at learning rate 1: the loss and the weights became NaN or"
        " infinite, the last finite loss was 5.2500; choose a lower learning rate or a longer warm-up."
    )
    first = divergence.error(Path("c"), (1, 8), 1e10, ["the loss"], [])
    assert "at learning rate 1e+10: the loss became NaN or infinite, no step had a finite loss;" in str(first)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_one_weight_that_is_not_finite_is_seen(bad, kind):
    parameters = [torch.nn.Parameter(torch.ones(n, dtype=kind)) for n in (3, 0, 5)]
    assert divergence.are_finite(parameters)
    with torch.no_grad():
        parameters[2][4] = bad
    assert not divergence.are_finite(parameters)
    # ZeRO-3 leaves the parameter empty, and puts this rank's part into its attribute ds_tensor
    partitioned = torch.nn.Parameter(torch.empty(0))
    partitioned.ds_tensor = torch.tensor([1.0, bad])
    assert not divergence.are_finite([partitioned])
