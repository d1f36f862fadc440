"""Use of a model before its training, without any effect on it.

Weights, training modes, buffers and random states are restored afterwards.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

FLASH = "flash_attention_2"


@contextmanager
def borrowed(model: Any, device: torch.device) -> Iterator[None]:
    """Inside the context, the model is in training mode on ``device``, and its attention works in float32.

    Afterwards the model and all random states are restored.
    """
    parameters = [(parameter, parameter.data) for parameter in model.parameters()]
    modules = [(module, module.training, dict(module._buffers)) for module in model.modules()]
    attention = getattr(model.config, "_attn_implementation", None)
    states = random.getstate(), np.random.get_state()
    gpus = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(gpus), torch.enable_grad():
            for parameter, data in parameters:
                parameter.data = data.to(device)
            for module, _, buffers in modules:
                module._buffers.update(
                    {name: b if b is None else b.to(device, copy=True) for name, b in buffers.items()}
                )
            if attention == FLASH:
                model.set_attn_implementation("sdpa")
            model.train()
            yield
    finally:
        if attention == FLASH:
            model.set_attn_implementation(FLASH)
        for parameter, data in parameters:
            parameter.data = data
        for module, training, buffers in modules:
            module.training = training
            module._buffers.clear()
            module._buffers.update(buffers)
        random.setstate(states[0])
        np.random.set_state(states[1])


@contextmanager
def installed(model: Any) -> Iterator[None]:
    """Undo ``smoothed_head.install`` at the end of the context."""
    head, forward = model.get_output_embeddings(), model.__dict__.get("forward")
    kind = type(head)
    try:
        yield
    finally:
        if head is not None:
            head.__class__ = kind
        model.__dict__.pop("forward", None)
        if forward is not None:
            model.forward = forward


def seed(device: torch.device) -> None:
    """Seed the random generators of Python, NumPy, the CPU and ``device``.

    Two passes in training mode then apply the same dropout.
    """
    random.seed(0)
    np.random.seed(0)
    torch.default_generator.manual_seed(0)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(0)
