import pytest
import torch

from polycal.losses.logit_tiles import BITS_PER_NAT
from polycal.losses.running_log_sum_exp import RunningLogSumExp


def added(logits, width, in_place):
    """Sums over ``logits`` [T, V] in nats, added in tiles of ``width`` columns."""
    sums = RunningLogSumExp(len(logits), dtype=logits.dtype, device=logits.device)
    for tile in (logits * BITS_PER_NAT).split(width, dim=1):
        powers = tile if in_place else torch.empty_like(tile)
        sums.add(tile, differences=torch.empty_like(tile), powers=powers)
    return sums


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("width", [1, 7, 40])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_tiles_give_the_log_likelihood_and_entropy_of_all_logits(scale, width, in_place):
    logits = scale * torch.randn(5, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sums = added(logits, width, in_place)
    logp = logits.log_softmax(1)
    assert torch.equal(sums.top, (logits * BITS_PER_NAT).amax(1))
    assert torch.allclose(sums.nll(logits[:, 3] * BITS_PER_NAT), -logp[:, 3], rtol=1e-12, atol=1e-12)
    assert torch.allclose(sums.entropy(), -(logp.exp() * logp).sum(1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rising", [False, True])
def test_the_order_of_huge_and_small_logits_does_not_matter(rising):
    logits = torch.tensor([[-1e4, 0.0, 1e4]] if rising else [[1e4, 0.0, -1e4]])
    sums = added(logits, 1, False)
    assert sums.exp_sum.tolist() == [1.0]
    assert sums.entropy().tolist() == [0.0]


def test_add_can_replace_the_logits_of_a_tile_by_their_powers():
    logits = torch.tensor([[1.0, 2.0, 0.0]])
    sums = RunningLogSumExp(1, dtype=logits.dtype, device=logits.device)
    sums.add(logits, differences=torch.empty_like(logits), powers=logits)
    assert logits.tolist() == [[0.5, 1.0, 0.25]]
