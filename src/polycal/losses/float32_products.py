"""Matrix products with float32 results, from factors in bfloat16 or float32.

The product of two bfloat16 numbers is exact in float32. On CUDA the tensor cores multiply in bfloat16 and
accumulate in float32, and the result is not rounded to bfloat16. Operators that do this exist for CUDA only. On
other devices the factors are converted to float32 first, so that only the order of the sum differs.
"""

import torch
from torch import Tensor


def multiply(left: Tensor, right: Tensor, *, out: Tensor) -> None:
    """Write ``left`` [M, K] times ``right`` [K, N] into the float32 ``out`` [M, N]."""
    if left.is_cuda and left.dtype != out.dtype:
        torch.mm(left, right, out_dtype=out.dtype, out=out)
    else:
        torch.mm(left.to(out.dtype), right.to(out.dtype), out=out)


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add ``left`` [M, K] times ``right`` [K, N] to the float32 ``total`` [M, N]."""
    if left.is_cuda and left.dtype != total.dtype:
        torch.addmm(total, left, right, out_dtype=total.dtype, out=total)
    else:
        total.addmm_(left.to(total.dtype), right.to(total.dtype))
