"""The memory of the tiled loss, which gradients it computes, and how often ``backward`` can be called."""

import pytest
import torch
from helpers import smoothed_loss
from helpers.smoothed_loss import from_tiles, inputs
from torch.utils._python_dispatch import TorchDispatchMode

from polycal.losses import token_statistics
from polycal.losses.logit_tiles import tile_sizes


class Watched(TorchDispatchMode):
    """Records the operations that run, and the size of the largest tensor that they return."""

    def __init__(self):
        super().__init__()
        self.operations, self.numbers = set(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.operations.add(func.overloadpacket.__name__)
        for output in result if isinstance(result, tuple | list) else [result]:
            if isinstance(output, torch.Tensor):
                self.numbers = max(self.numbers, output.numel())
        return result


@pytest.mark.parametrize("softcap", [None, 30.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("n", "v"), [(400, 70001), (128, 20011), (48, 70001)])
def test_logits_of_all_tokens_are_never_stored(n, v, dtype, softcap):
    hidden, weight, labels = inputs(n=n + 1, d=4, v=v, dtype=dtype)  # one token is not a target
    sizes = tile_sizes(n, v)
    assert sizes.tile_columns < v / 2
    with Watched() as watched:
        from_tiles(hidden, weight, labels, 0.1, softcap)
    stored = min(sizes.stored_columns + sizes.tile_columns, v)
    assert watched.numbers <= (sizes.block_tokens + 1) * stored <= 0.85 * n * v


def test_without_autograd_no_gradient_is_computed(small_tiles):
    hidden, weight, labels = inputs()
    given = hidden[4:], weight.requires_grad_(), labels[4:], 0.1
    products = {"addmm", "addmm_"}
    with Watched() as with_gradient:
        token_statistics(*given)
    with torch.no_grad(), Watched() as without_gradient:
        statistics = token_statistics(*given)
    assert with_gradient.operations & products
    assert not without_gradient.operations & products
    assert not statistics.loss.requires_grad


@pytest.mark.parametrize("frozen", ["hidden", "weight"])
def test_a_frozen_input_gets_no_gradient_and_changes_no_other(frozen):
    smoothed_loss.check_that_a_frozen_input_changes_no_other(*inputs(), frozen)


def test_a_second_backward_is_refused():
    smoothed_loss.check_that_a_second_backward_is_refused(*inputs())
