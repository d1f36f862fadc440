"""The fused loss on this machine: on its GPU, or with the kernel in Triton's interpreter."""

import torch

from polycal.losses import backends, fused_loss, row_pass

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
KINDS = ("random", "confident", "smoothed")


def use_fused(monkeypatch, *, columns=64, block_tokens=None):
    """Let the package use the fused loss on every device, with chunks of ``columns`` and blocks of tokens."""
    monkeypatch.setattr(backends, "backend_of", lambda device: backends.FUSED)
    monkeypatch.setattr(row_pass, "COLUMNS", columns)
    if DEVICE.type == "cpu":
        monkeypatch.setattr(row_pass, "TOKENS", 32)
    if block_tokens:
        monkeypatch.setattr(fused_loss, "device_memory", lambda device: (0, 0))
        monkeypatch.setattr(fused_loss, "MIN_BLOCK_TOKENS", block_tokens)


def on_device(*tensors):
    """The tensors on the device of the fused loss."""
    return tuple(t.to(DEVICE) if isinstance(t, torch.Tensor) else t for t in tensors)


def bfloat16_inputs(kind, seed, n=64, d=32, v=2003):
    """Hidden states [n, d] and W [v, d] in bfloat16, and labels [n].

    The labels are unlikely (``random``), nearly certain (``confident``), or as likely as label smoothing makes
    them (``smoothed``, where p is near β/V for all other tokens).
    """
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(v, d, generator=generator)
    labels = torch.randint(0, v, (n,), generator=generator)
    if kind == "random":
        hidden = torch.randn(n, d, generator=generator)
    else:
        length, factor = {"confident": (1, 25), "smoothed": (0.3, 30)}[kind]
        weight = torch.nn.functional.normalize(weight, dim=1) * length
        hidden = factor * weight[labels]
    return hidden.bfloat16(), weight.bfloat16(), labels


def from_plain_head(hidden, weight, labels, beta, softcap, *, float32_logits):
    """(loss, gradient in hidden states, gradient in W) of a plain head in bfloat16 with a loss in float32.

    The products have bfloat16 factors. The logits are their float32 results, or these rounded to bfloat16. The
    gradients are rounded to bfloat16 as they leave the loss, and as they leave the products.
    """
    h, w = hidden.float(), weight.float()
    product = h @ w.T
    if not float32_logits:
        product = product.bfloat16().float()
    z = product.requires_grad_()
    if softcap is not None:
        z = softcap * torch.tanh(z / softcap)
    loss = torch.nn.functional.cross_entropy(z, labels, label_smoothing=beta)
    (slope,) = torch.autograd.grad(loss, product)
    slope = slope.bfloat16().float()
    return loss.detach(), (slope @ w).bfloat16(), (slope.T @ h).bfloat16()
