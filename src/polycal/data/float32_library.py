"""Which library PyTorch uses for float32 products on the CPU: MKL, or oneDNN where that is twice as fast.

On AMD processors MKL does not use AVX-512. PyTorch offers oneDNN only with the permission to round the factors to
bfloat16 (``fp32_precision = "bf16"``), which oneDNN has a kernel for on processors with AMX. So the permission is given on
AMD processors with AVX-512 and without AMX. A product of known value shows that nothing is rounded; if it were, the
permission would be withdrawn.
"""

from typing import Any

ONEDNN, DEFAULT = "oneDNN", "PyTorch's default"
MIN_WIDTH = 512
"""Hidden size from which oneDNN is used. Its fixed costs make attention with short rows and small heads slower, which
weighs most in small models. Training steps of models from 128 on gained by it, but smaller ones were not measured."""


def choose(width: int) -> str:
    """Choose the library for a model with hidden states of ``width`` values. The choice is for the whole process.

    Returns the name that ``used`` will return.
    """
    import torch

    matmul = _products()
    matmul.fp32_precision = "none"
    if width >= MIN_WIDTH and _has_slow_default(torch.cpu.get_capabilities()):
        matmul.fp32_precision = "bf16"
        if not _is_exact():
            matmul.fp32_precision = "none"
    return used()


def used() -> str:
    """ONEDNN or DEFAULT."""
    return ONEDNN if _products().fp32_precision == "bf16" else DEFAULT


def _products() -> Any:
    """PyTorch's settings of oneDNN's products, for which it has no types."""
    import torch

    backends: Any = torch.backends
    return backends.mkldnn.matmul


def _has_slow_default(processor: Any) -> bool:
    """Whether oneDNN is faster than MKL on a processor, and has no kernel that rounds to bfloat16."""
    slow = str(processor.get("cpu_name", "")).startswith("AMD") and processor.get("avx512_f", False)
    return bool(slow and not processor.get("amx_tile", False))


def _is_exact() -> bool:
    """Whether the products of a float32 matrix with the identity matrix, on either side, are that matrix."""
    import torch

    # The sizes are those of a small model's layer: oneDNN is used for large products only.
    matrix = torch.rand(MIN_WIDTH, MIN_WIDTH, generator=torch.Generator().manual_seed(0))
    identity = torch.eye(MIN_WIDTH)
    return torch.equal(identity @ matrix, matrix) and torch.equal(matrix @ identity, matrix)
