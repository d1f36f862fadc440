"""The loss for CUDA. Without a GPU its kernel runs in Triton's interpreter."""

import importlib.util

import pytest
import torch
from helpers import smoothed_loss
from helpers.fused_loss import DEVICE, bfloat16_inputs, from_plain_head, on_device, use_fused
from helpers.smoothed_loss import from_full_logits, from_tiles, inputs, relative_error

from polycal.losses import backends, float32_products, fused_loss, smoothed_cross_entropy, token_statistics
from polycal.losses.fused_loss import FusedSmoothedLoss, block_tokens

CAPS = [None, 3.0]


@pytest.fixture(autouse=True)
def fused(monkeypatch):
    """Blocks of at most 7 tokens, and chunks of 64 columns."""
    use_fused(monkeypatch, block_tokens=7)


def from_fused(*given):
    """Like ``from_tiles``, on the device of the fused loss."""
    return tuple(t.cpu() for t in from_tiles(*on_device(*given)))


@pytest.mark.parametrize("softcap", CAPS)
@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_float32_against_float64(beta, softcap):
    given = inputs(v=203)
    for actual, expected in zip(
        from_fused(*given, beta, softcap), from_full_logits(*given, beta, softcap), strict=True
    ):
        assert relative_error(actual, expected) <= 1e-6


def test_the_fused_loss_is_the_one_that_runs(monkeypatch):
    monkeypatch.setattr(FusedSmoothedLoss, "apply", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        from_fused(*inputs(), 0.1)


@pytest.mark.parametrize("softcap", CAPS)
def test_bias_and_statistics(softcap):
    hidden, weight, labels = inputs(v=131)
    is_target = labels != -100
    hidden, targets = hidden[is_target], labels[is_target]
    bias = torch.linspace(-1, 1, len(weight), dtype=torch.float64, requires_grad=True)
    z = hidden.double() @ weight.T.double() + bias
    z = z if softcap is None else softcap * torch.tanh(z / softcap)
    targets[:2] = z[:2].argmax(1)
    logp = z.log_softmax(-1)
    reference = torch.nn.functional.cross_entropy(z, targets, label_smoothing=0.2, reduction="sum") / 7
    h, w, b = (t.detach().float().to(DEVICE).requires_grad_() for t in (hidden, weight, bias))
    count = torch.tensor(7)
    statistics = token_statistics(h, w, targets.to(DEVICE), 0.2, bias=b, softcap=softcap, num_items=count)
    assert relative_error(statistics.loss.cpu(), reference) <= 1e-6
    assert relative_error(statistics.nll.cpu(), -logp.gather(1, targets[:, None])[:, 0]) <= 1e-6
    assert relative_error(statistics.entropy.cpu(), -(logp.exp() * logp).sum(1)) <= 1e-6
    assert torch.equal(statistics.correct.cpu(), z.argmax(1) == targets)
    assert statistics.correct[:2].all()
    assert not statistics.correct.all()
    grads = torch.autograd.grad(3 * statistics.loss, (h, w, b))
    for grad, exact in zip(grads[2:], torch.autograd.grad(3 * reference, [bias]), strict=True):
        assert relative_error(grad.cpu(), exact) <= 1e-6


@pytest.mark.parametrize("softcap", CAPS)
def test_bfloat16_is_as_exact_as_a_plain_head_with_float32_logits(softcap, monkeypatch):
    use_fused(monkeypatch, columns=1024, block_tokens=24)
    given = *bfloat16_inputs("confident", seed=0), 0.1, softcap
    exact = from_full_logits(*given)
    plain = from_plain_head(*given, float32_logits=True)
    for actual, other, expected in zip(from_fused(*given)[1:], plain[1:], exact[1:], strict=True):
        assert actual.dtype == torch.bfloat16
        assert relative_error(actual, expected) <= 1.05 * relative_error(other, expected)


@pytest.mark.parametrize(("softcap", "share"), [(None, 0.01), (60.0, 0.75)])
def test_the_uniform_part_is_not_rounded_to_bfloat16(softcap, share, monkeypatch):
    """For certain tokens the gradient of a row of W that is no label is −β/V times the sum of hidden states.

    A plain head rounds all its parts in the same direction. A soft-cap adds parts that differ between tokens.
    """
    use_fused(monkeypatch, columns=1024, block_tokens=24)
    hidden, weight, labels = bfloat16_inputs("confident", seed=1)
    given = 2 * hidden, weight.float(), labels, 0.1, softcap
    _, _, exact = from_full_logits(*given)
    with torch.autocast(DEVICE.type, dtype=torch.bfloat16):
        _, _, actual = from_fused(*given)
    _, _, plain = from_plain_head(*given, float32_logits=True)
    others = torch.ones(len(weight), dtype=torch.bool)
    others[labels] = False
    assert actual.dtype == torch.float32
    assert relative_error(plain[others], exact[others]) > 2e-3
    assert relative_error(actual[others], exact[others]) < share * relative_error(
        plain[others], exact[others]
    )


def test_ignored_tokens_change_nothing():
    smoothed_loss.check_that_ignored_tokens_change_nothing(from_fused)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_loss_without_targets_is_zero(dtype):
    hidden, weight, labels = inputs(dtype=dtype)
    loss, *grads = from_fused(hidden, weight, torch.full_like(labels, -100), 0.1)
    assert loss == 0
    assert not any(g.any() for g in grads)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_single_token(dtype):
    hidden, weight, labels = inputs(dtype=dtype)
    given = hidden[1:2], weight, labels[1:2], 0.1
    for actual, expected in zip(from_fused(*given), from_full_logits(*given), strict=True):
        assert relative_error(actual, expected) <= (1e-6 if dtype == torch.float32 else 2**-8)


def test_without_autograd_no_gradient_is_computed(monkeypatch):
    given = inputs()
    expected = from_full_logits(*given, 0.1)[0]
    monkeypatch.setattr(fused_loss._Gradients, "add_block", lambda *given: 1 / 0)
    with torch.no_grad():
        loss = smoothed_cross_entropy(*on_device(*given), 0.1)
    assert relative_error(loss.cpu(), expected) <= 1e-6


@pytest.mark.parametrize("frozen", ["hidden", "weight"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_frozen_input_gets_no_gradient_and_changes_no_other(frozen, dtype):
    smoothed_loss.check_that_a_frozen_input_changes_no_other(*on_device(*inputs(dtype=dtype)), frozen)


def test_a_second_backward_is_refused():
    smoothed_loss.check_that_a_second_backward_is_refused(*on_device(*inputs()))


def test_float64_uses_the_tiled_loss():
    given = inputs(dtype=torch.float64)
    for actual, expected in zip(from_fused(*given, 0.3), from_full_logits(*given, 0.3), strict=True):
        assert actual.dtype == torch.float64
        assert relative_error(actual, expected) <= 1e-13


def test_huge_logits_do_not_overflow():
    given = inputs(scale=1e4)
    for actual, expected in zip(from_fused(*given, 0.1), from_full_logits(*given, 0.1), strict=True):
        assert torch.isfinite(actual).all()
        assert relative_error(actual, expected) <= 1e-5


def test_products_of_bfloat16_are_not_rounded_to_bfloat16():
    left, right = on_device(*(torch.randn(9, 9, generator=torch.Generator().manual_seed(0)).bfloat16(),) * 2)
    exact = left.double() @ right.double()
    out = torch.empty(9, 9, device=DEVICE)
    float32_products.multiply(left, right, out=out)
    assert relative_error(out, exact) <= 1e-6
    float32_products.add_product(out, left.T, right)
    assert relative_error(out, exact + left.T.double() @ right.double()) <= 1e-6


@pytest.mark.parametrize(
    ("total", "free", "tokens", "expected"),
    [
        (80 * 2**30, 80 * 2**30, 4096, 1366),  # 1.25 GB in blocks of nearly equal size
        (80 * 2**30, 3 * 2**30, 4096, 1366),  # no change with less free memory
        (80 * 2**30, 2**30, 4096, 683),  # … unless little is free
        (640 * 2**30, 640 * 2**30, 4096, 2048),  # at most 2 GB
        (2**30, 0, 100, 15),  # at least so many tokens that the products are worth it
        (80 * 2**30, 80 * 2**30, 0, 1),
    ],
)
def test_the_size_of_a_block_follows_the_memory(total, free, tokens, expected, monkeypatch):
    monkeypatch.setattr(fused_loss, "MIN_BLOCK_TOKENS", 16)
    assert block_tokens(tokens, 6 * 128256, total=total, free=free) == expected


@pytest.mark.parametrize(
    ("hidden", "weight", "autocast", "expected"),
    [
        (torch.bfloat16, torch.bfloat16, None, torch.bfloat16),
        (torch.float32, torch.float32, None, torch.float32),
        (torch.bfloat16, torch.float32, None, torch.float32),
        (torch.float32, torch.float32, torch.bfloat16, torch.bfloat16),
        (torch.bfloat16, torch.float32, torch.bfloat16, torch.bfloat16),
        (torch.float16, torch.float16, None, torch.float32),
        (torch.float32, torch.float32, torch.float16, torch.float32),
        (torch.float64, torch.float32, torch.bfloat16, torch.float64),
    ],
)
def test_the_type_of_the_products(hidden, weight, autocast, expected):
    given = torch.ones(1, dtype=hidden), torch.ones(1, dtype=weight)
    with torch.autocast("cpu", dtype=autocast or torch.bfloat16, enabled=autocast is not None):
        assert backends.product_dtype(*given) == expected


def test_the_backend_of_a_device(monkeypatch):
    monkeypatch.undo()
    assert backends.backend_of(torch.device("cpu")) == "tiled PyTorch"
    assert backends.backend_of(torch.device("cuda", 1)) == "fused Triton"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert backends.backend_of(torch.device("cuda", 1)) == "tiled PyTorch"
