"""Which implementation computes the smoothed loss on a device.

The tiled implementation needs PyTorch only. Its tiles fit into the cache of a CPU, and its products are in
float32. The fused implementation is for CUDA: its products are in the type that training uses, its blocks fill
the chip, and one Triton kernel does everything between the products.
"""

import importlib.util

import torch

TILED = "tiled PyTorch"
FUSED = "fused Triton"


def backend_of(device: torch.device) -> str:
    """The name of the implementation for tensors on ``device``; a manifest contains it.

    It is FUSED on CUDA if Triton is installed, and TILED otherwise. Tensors in float64 always use TILED.
    """
    return FUSED if device.type == "cuda" and importlib.util.find_spec("triton") is not None else TILED


def product_dtype(hidden: torch.Tensor, weight: torch.Tensor) -> torch.dtype:
    """The type of the factors of the fused implementation's products: bfloat16, float32 or float64.

    Call it outside of ``torch.autocast(enabled=False)``. It is bfloat16 if autocast to bfloat16 is enabled on
    the device, or if both tensors are in bfloat16. Otherwise it is float32, or float64 if one tensor is
    float64. The small gradients of a large vocabulary would become zero in float16.
    """
    promoted = torch.promote_types(hidden.dtype, weight.dtype)
    device = hidden.device.type
    if promoted != torch.float64 and torch.is_autocast_enabled(device):
        promoted = torch.get_autocast_dtype(device)
    return promoted if promoted == torch.bfloat16 else torch.promote_types(promoted, torch.float32)
