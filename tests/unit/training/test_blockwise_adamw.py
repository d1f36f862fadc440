"""AdamW in blocks gives the bits of PyTorch's AdamW."""

import pytest
import torch

from polycal.training.blockwise_adamw import BLOCK, BlockwiseAdamW

SHAPES = [(5,), (3, 7), (2 * BLOCK + 77,), (1000, 321)]


def trained(kind, weight_decay, dtype):
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(shape, dtype=dtype)) for shape in SHAPES]
    unused = torch.nn.Parameter(torch.randn(3, dtype=dtype))
    optimizer = kind([*parameters, unused], lr=1e-2, weight_decay=weight_decay)
    for step in range(4):
        optimizer.param_groups[0]["lr"] = 1e-2 / (step + 1)
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        # a gradient that is not contiguous
        parameters[-1].grad = torch.randn(SHAPES[-1][::-1], dtype=dtype).T
        optimizer.step()
    return [*parameters, unused], optimizer.state_dict()["state"]


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_parameters_and_states_are_the_same_to_the_last_bit(weight_decay, dtype):
    ours, our_states = trained(BlockwiseAdamW, weight_decay, dtype)
    theirs, their_states = trained(torch.optim.AdamW, weight_decay, dtype)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert our_states.keys() == their_states.keys()
    for number, state in their_states.items():
        assert state.keys() == our_states[number].keys()
        assert all(torch.equal(our_states[number][name], value) for name, value in state.items())


def test_options_that_blocks_do_not_have_are_left_to_pytorch():
    found = []
    for kind in (BlockwiseAdamW, torch.optim.AdamW):
        torch.manual_seed(0)
        parameter = torch.nn.Parameter(torch.randn(10))
        optimizer = kind([parameter], lr=1e-2, amsgrad=True)
        for _ in range(3):
            parameter.grad = torch.randn(10)
            optimizer.step()
        found.append(parameter.detach())
    assert torch.equal(*found)
    assert optimizer.step(lambda: torch.tensor(7.0)) == 7
