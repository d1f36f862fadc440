"""Inputs of the smoothed loss, and a reference loss from full logits."""

import pytest
import torch

from polycal.losses import smoothed_cross_entropy

SMALL_MODEL = {
    "vocab_size": 61,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
"""The configuration of a small model, as keyword arguments of a configuration class of transformers."""


def inputs(n=17, d=12, v=53, scale=1.0, seed=0, dtype=torch.float32):
    """Hidden states [n, d], output weight [v, d], and labels [n], which include 0, v − 1 and an ignored label."""
    generator = torch.Generator().manual_seed(seed)
    hidden = (torch.randn(n, d, generator=generator) * scale).to(dtype)
    weight = torch.randn(v, d, generator=generator).to(dtype)
    labels = torch.randint(0, v, (n,), generator=generator)
    labels[0], labels[1], labels[2], labels[3] = 0, v - 1, -100, 0
    return hidden, weight, labels


def from_full_logits(hidden, weight, labels, beta, softcap=None, dtype=torch.float64):
    """The loss and its gradients in hidden states and weight, computed by PyTorch from all logits in ``dtype``."""
    h, w = (t.detach().to(dtype).requires_grad_() for t in (hidden, weight))
    z = h @ w.T
    if softcap is not None:
        z = softcap * torch.tanh(z / softcap)
    loss = torch.nn.functional.cross_entropy(z, labels, label_smoothing=beta, ignore_index=-100)
    return (loss, *torch.autograd.grad(loss, (h, w)))


def from_tiles(hidden, weight, labels, beta, softcap=None):
    """The loss and its gradients, computed by ``smoothed_cross_entropy``."""
    h, w = (t.detach().clone().requires_grad_() for t in (hidden, weight))
    loss = smoothed_cross_entropy(h, w, labels, beta, softcap=softcap)
    return (loss, *torch.autograd.grad(loss, (h, w)))


def check_that_ignored_tokens_change_nothing(compute):
    """``compute`` returns a loss and its gradients, like ``from_tiles``."""
    hidden, weight, labels = inputs()
    more = torch.cat([hidden, torch.full((5, hidden.shape[1]), 7.0)])
    masked = torch.cat([labels, torch.full((5,), -100)])
    loss, grad_hidden, grad_weight = compute(hidden, weight, labels, 0.1)
    loss_more, grad_more, grad_weight_more = compute(more, weight, masked, 0.1)
    assert loss == loss_more
    assert torch.equal(grad_weight, grad_weight_more)
    assert torch.equal(grad_more[: len(hidden)], grad_hidden)
    assert not grad_more[len(hidden) :].any()


def check_that_a_frozen_input_changes_no_other(hidden, weight, labels, frozen):
    """If ``frozen``, hidden or weight, needs no gradient, it gets none, and that of the other stays the same."""
    _, grad_hidden, grad_weight = from_tiles(hidden, weight, labels, 0.1)
    given = {"hidden": hidden.clone(), "weight": weight.clone()}
    other = next(name for name in given if name != frozen)
    given[other].requires_grad_()
    smoothed_cross_entropy(**given, labels=labels, beta=0.1).backward()
    assert given[frozen].grad is None
    assert torch.equal(given[other].grad, grad_weight if other == "weight" else grad_hidden)


def check_that_a_second_backward_is_refused(hidden, weight, labels):
    """The first call uses up the gradients."""
    loss = smoothed_cross_entropy(hidden.requires_grad_(), weight, labels, 0.1)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="once"):
        loss.backward()


def relative_error(actual, expected):
    """Norm of the difference, divided by the norm of ``expected``."""
    actual, expected = actual.detach().double(), expected.detach().double()
    return float((actual - expected).norm() / expected.norm().clamp(min=1e-30))
