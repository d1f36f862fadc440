"""AdamW of PyTorch on a CPU, one block of a parameter after another.

PyTorch makes about ten passes over each parameter, with temporary arrays of its size. The matrix of output embeddings
does not fit into the processor's cache, so each pass reads it from memory. In blocks that fit, the passes read the
cache. The operations on each number and their order are the same, so the results are the same to the last bit.
"""

from typing import Any

import torch
from torch.optim.adamw import adamw

BLOCK = 2**17
"""Numbers of a parameter that are updated together. Its four arrays and two temporary ones have 3 MB in float32."""


class BlockwiseAdamW(torch.optim.AdamW):
    """``torch.optim.AdamW`` with the same states and results. Parameters that are not on the CPU are updated as there."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step of all parameters that have a gradient."""
        plain = all(
            parameter.device.type == "cpu" and parameter.is_contiguous()
            for group in self.param_groups
            for parameter in group["params"]
        )
        if closure is not None or not plain or any(_is_special(group) for group in self.param_groups):
            return super().step(closure)
        for group in self.param_groups:
            lists: tuple[list[torch.Tensor], ...] = ([], [], [], [], [], [])
            self._init_group(group, *lists)
            parameters, gradients, averages, squares, _, steps = lists
            for parameter, gradient, average, square, step in zip(
                parameters, gradients, averages, squares, steps, strict=True
            ):
                blocks = _blocks(parameter)
                adamw(
                    blocks,
                    _blocks(gradient),
                    _blocks(average),
                    _blocks(square),
                    [],
                    [step.clone() for _ in blocks],
                    foreach=False,
                    fused=False,
                    amsgrad=False,
                    beta1=group["betas"][0],
                    beta2=group["betas"][1],
                    lr=group["lr"],
                    weight_decay=group["weight_decay"],
                    eps=group["eps"],
                    maximize=False,
                )
                step += 1
        return None


def _blocks(whole: torch.Tensor) -> list[torch.Tensor]:
    return list(whole.detach().reshape(-1).split(BLOCK))


def _is_special(group: dict[str, Any]) -> bool:
    """Whether a group has options with which PyTorch computes in another way."""
    names = ("amsgrad", "maximize", "foreach", "capturable", "differentiable", "fused")
    return any(group[name] for name in names) or isinstance(group["lr"], torch.Tensor)
