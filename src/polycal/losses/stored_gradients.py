"""The backward pass of a loss whose forward pass already computed the gradients."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class StoredGradients(torch.autograd.Function):
    """An autograd function whose forward pass stores the gradients of its first three arguments.

    ``forward`` calls ``begin``, and sets ``ctx.gradients`` to them, or None for an argument that needs none. Its
    first result is the loss, and the others have no gradient.
    """

    @staticmethod
    def begin(ctx: Any, arguments: Sequence[Tensor | None], with_gradients: bool) -> list[bool]:
        """Keep the types of the first three arguments of ``forward``. Returns which of them need a gradient."""
        ctx.dtypes = [None if x is None else x.dtype for x in arguments]
        return [with_gradients and needed for needed in ctx.needs_input_grad[: len(arguments)]]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError(
                "backward was called twice on a smoothed loss, which allows it once; compute the loss again"
            )
        gradients, ctx.gradients = ctx.gradients, None
        if float(outer[0]) != 1:
            # Multiply in place, because a second gradient of W would be as large as the largest array in
            # memory.
            for grad in gradients:
                if grad is not None:
                    grad *= outer[0]
        cast = (
            None if grad is None else grad.to(dtype)
            for grad, dtype in zip(gradients, ctx.dtypes, strict=True)
        )
        return (*cast, *(None,) * (len(ctx.needs_input_grad) - len(gradients)))
