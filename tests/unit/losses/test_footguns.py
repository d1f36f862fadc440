"""The traps of docs/footguns.md.

For each, one test shows it in other code and another that our loss avoids it.
"""

import importlib.metadata
import math

import pytest
import torch
from packaging.version import Version
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.trainer_pt_utils import LabelSmoother

from polycal.losses import smoothed_cross_entropy, smoothed_head

BETA = 0.1


def batch(n=24, d=8, v=61, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, d, generator=generator)
    weight = torch.randn(v, d, generator=generator)
    return hidden, weight, torch.randint(0, v, (n,), generator=generator)


# Gradient accumulation inflates the gradient: one global batch of 24 tokens in four unequal micro-batches

PARTS = [slice(0, 3), slice(3, 4), slice(4, 14), slice(14, 24)]


def accumulated(loss_of_part):
    """Norm of the gradient of W, summed over the micro-batches."""
    hidden, weight, labels = batch()
    weight.requires_grad_()
    for part in PARTS:
        loss_of_part(hidden[part], weight, labels[part]).backward()
    return float(weight.grad.norm())


def whole():
    """Norm of the gradient of W for the global batch at once."""
    hidden, weight, labels = batch()
    weight.requires_grad_()
    torch.nn.functional.cross_entropy(hidden @ weight.T, labels, label_smoothing=BETA).backward()
    return float(weight.grad.norm())


def test_a_mean_over_each_micro_batch_inflates_the_gradient_by_about_their_number():
    # LabelSmoother called as transformers called it before 5.15, without the global batch's count of targets
    norm = accumulated(lambda h, w, y: LabelSmoother(BETA)({"logits": h @ w.T}, y))
    assert norm > 0.7 * len(PARTS) * whole()


def test_the_installed_label_smoother_takes_the_count_of_the_global_batch():
    assert Version(importlib.metadata.version("transformers")) >= Version("5.15")
    norm = accumulated(lambda h, w, y: LabelSmoother(BETA)({"logits": h @ w.T}, y, num_items_in_batch=24))
    assert norm == pytest.approx(whole(), rel=1e-5)


def test_our_micro_batches_add_up_to_the_global_batch():
    norm = accumulated(lambda h, w, y: smoothed_cross_entropy(h, w, y, BETA, num_items=24))
    assert norm == pytest.approx(whole(), rel=1e-5)


# A filter of small gradients drops the uniform part: a confident model, and β/V below the filter's threshold

THRESHOLD = torch.finfo(torch.bfloat16).eps / 32


def confident(n=32, d=32, v=32768):
    """Hidden states [N, D] along their label's row of W, W [V, D], labels [N], gradients in logits [N, V]."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.nn.functional.normalize(torch.randn(v, d, generator=generator), dim=1)
    labels = torch.randint(0, v, (n,), generator=generator)
    hidden = 40 * weight[labels]
    slope = torch.softmax((hidden.double() @ weight.double().T), 1) - BETA / v
    slope[torch.arange(n), labels] -= 1 - BETA
    return hidden, weight, labels, slope


def filtered(slope, block=32):
    """The gradient in the logits, with zeros in each block that is entirely below the threshold."""
    n, v = slope.shape
    blocks = slope.view(n // block, block, v // block, block)
    is_kept = (blocks.abs() >= THRESHOLD).any(dim=3, keepdim=True).any(dim=1, keepdim=True)
    return (blocks * is_kept).view(n, v)


def test_a_filter_of_small_gradients_drops_the_uniform_part():
    hidden, _, labels, slope = confident()
    v = slope.shape[1]
    assert BETA / v < THRESHOLD
    others = torch.ones(v, dtype=torch.bool)
    others[labels] = False
    exact = (slope.T @ hidden.double())[others]
    remaining = (filtered(slope).T @ hidden.double())[others]
    assert remaining.norm() < 0.25 * exact.norm()
    assert (remaining == 0).all(1).double().mean() > 0.95


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_our_uniform_gradient_reaches_every_row(dtype):
    hidden, weight, labels, _ = confident()
    hidden, weight = hidden.to(dtype), weight.to(dtype).requires_grad_()
    slope = torch.softmax(hidden.double() @ weight.detach().double().T, 1) - BETA / len(weight)
    slope[torch.arange(len(labels)), labels] -= 1 - BETA
    exact = slope.T @ hidden.double() / len(labels)
    smoothed_cross_entropy(hidden, weight, labels, BETA).backward()
    others = torch.ones(len(weight), dtype=torch.bool)
    others[labels] = False
    error = (weight.grad.double() - exact)[others].norm() / exact[others].norm()
    assert error <= (1e-5 if dtype == torch.float32 else 2**-8)
    assert weight.grad[others].any(1).all()


@pytest.mark.parametrize("softcap", [None, 30.0])
def test_the_gradient_of_all_logits_sums_to_zero(softcap):
    """The gradient is a difference of two distributions, so its sum is zero.

    Without the uniform part the sum would be β, and with its sign reversed 2β.
    """
    hidden, weight, labels, _ = confident()
    bias = torch.zeros(len(weight), requires_grad=True)
    if softcap is None:
        (grad,) = torch.autograd.grad(smoothed_cross_entropy(hidden, weight, labels, BETA, bias=bias), bias)
        assert abs(float(grad.double().sum())) < 1e-6
        assert float(grad[grad < 0].double().sum()) < -BETA / 2
    else:
        # With a cap this is true for the capped logits. Far below the cap they equal the logits.
        (grad,) = torch.autograd.grad(
            smoothed_cross_entropy(hidden / 1e4, weight, labels, BETA, bias=bias, softcap=softcap), bias
        )
        assert abs(float(grad.double().sum())) < 1e-6


# Resizing the vocabulary changes the loss: V is the number of rows of the output weight, with padding rows


def small_model():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=61, num_key_value_heads=2, **sizes))


def test_adding_a_padding_token_changes_the_target_of_every_token():
    model = small_model()
    ids = torch.randint(3, 61, (2, 9))
    smoothed_head.install(model, BETA)
    before = model(input_ids=ids, labels=ids)
    resized = small_model()
    resized.resize_token_embeddings(62, pad_to_multiple_of=64, mean_resizing=False)
    smoothed_head.install(resized, BETA)
    after = resized(input_ids=ids, labels=ids)
    # Three rows of no token now have a share of β and of the probability.
    assert resized.get_output_embeddings().out_features == 64
    z = resized(input_ids=ids).logits[:, :-1].flatten(0, 1).double()
    lse, labels = z.logsumexp(1), ids[:, 1:].flatten()
    at_label = z.gather(1, labels[:, None])[:, 0]
    mean = (z[:, :61].sum(1) + z[:, 61:].sum(1)) / 64
    assert after.loss.item() == pytest.approx(
        float((lse - (1 - BETA) * at_label - BETA * mean).sum()), rel=1e-5
    )
    nll_increase = after.nll.sum() - before.nll.sum()
    assert float(nll_increase) > 0
    assert not math.isclose(after.loss.item(), before.loss.item(), rel_tol=1e-3)


def test_installing_the_loss_keeps_the_vocabulary():
    model = small_model()
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    smoothed_head.install(model, BETA)
    assert {name: tuple(parameter.shape) for name, parameter in model.named_parameters()} == shapes
