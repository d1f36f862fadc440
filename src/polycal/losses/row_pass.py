"""A Triton kernel that computes the loss, the statistics and the gradient of the logits of tokens.

A program reads its tokens' logits twice: once for the running maximum and sums, and once for the gradient. The
logits are in float32 and in nats.
"""

# Triton's annotations must not be evaluated where Triton is missing.
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:
    # PyTorch for CPUs comes without Triton, and nothing below is called there.
    triton = tl = None

COLUMNS = 1024
"""Logits of a token that a program processes at once."""
TOKENS = 1
"""Tokens of a program. Triton's interpreter is faster with more."""
WARPS = 4

_jit: Any = (lambda function: function) if triton is None else triton.jit


@_jit
def _tanh(x):  # type: ignore[no-untyped-def]
    """tanh, for which Triton's interpreter has no function.

    Near zero 1 − e^−2x would lose digits, so a series is used there. Its next term is below 1e-9 of tanh.
    """
    squared = x * x
    series = x * (
        1
        + squared
        * (
            -0.3333333333333333
            + squared
            * (0.13333333333333333 + squared * (-0.05396825396825397 + squared * 0.021869488536155203))
        )
    )
    power = tl.exp2(-2.8853900817779268 * tl.abs(x))
    far = (1 - power) / (1 + power)
    return tl.where(squared < 0.04, series, tl.where(x < 0, -far, far))


@_jit
def _chunk(  # type: ignore[no-untyped-def]
    logits, bias, start, is_token, vocabulary, HAS_BIAS: tl.constexpr, COLUMNS: tl.constexpr
):
    """The columns from ``start`` [1, COLUMNS], which of them exist, and the logits [TOKENS, COLUMNS] before a soft-cap.

    Logits that do not exist are 0.
    """
    columns = start + tl.arange(0, COLUMNS)[None, :]
    inside = columns < vocabulary
    z = tl.load(logits + columns, mask=inside & is_token[:, None], other=0.0)
    if HAS_BIAS:
        z += tl.load(bias + columns, mask=inside, other=0.0).to(tl.float32)
    return columns, inside, z


@_jit
def _kernel(  # type: ignore[no-untyped-def]
    logits,
    logits_stride,
    gradient,
    gradient_stride,
    bias,
    labels,
    nll,
    entropy,
    smoothing,
    correct,
    factors,
    tokens,
    vocabulary,
    label_share,
    uniform_share,
    softcap,
    HAS_BIAS: tl.constexpr,
    HAS_SOFTCAP: tl.constexpr,
    WITH_GRADIENT: tl.constexpr,
    ROUND_BY_HAND: tl.constexpr,
    TOKENS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * TOKENS + tl.arange(0, TOKENS)
    is_token = row < tokens
    logits += row[:, None] * logits_stride
    gradient += row[:, None] * gradient_stride
    label = tl.load(labels + row, mask=is_token, other=0).to(tl.int32)[:, None]
    top = tl.full([TOKENS], -1e38, tl.float32)
    # The sums have an entry per column of a chunk and are added up once at the end.
    exp_sum = tl.zeros([TOKENS, COLUMNS], tl.float32)
    exp_sum_times_logit = tl.zeros([TOKENS, COLUMNS], tl.float32)
    logit_sum = tl.zeros([TOKENS, COLUMNS], tl.float32)
    at_label = tl.zeros([TOKENS, COLUMNS], tl.float32)
    for start in range(0, vocabulary, COLUMNS):
        columns, inside, z = _chunk(logits, bias, start, is_token, vocabulary, HAS_BIAS, COLUMNS)
        if HAS_SOFTCAP:
            z = softcap * _tanh(z / softcap)
        new_top = tl.maximum(top, tl.max(tl.where(inside, z, -1e38), axis=1))
        shift = (top - new_top)[:, None]
        scale = tl.exp2(1.4426950408889634 * shift)
        difference = tl.where(inside, z - new_top[:, None], 0.0)
        power = tl.where(inside, tl.exp2(1.4426950408889634 * difference), 0.0)
        exp_sum_times_logit = (exp_sum_times_logit + shift * exp_sum) * scale + power * difference
        exp_sum = exp_sum * scale + power
        logit_sum += tl.where(inside, z, 0.0)
        at_label += tl.where(columns == label, z, 0.0)
        top = new_top
    total = tl.sum(exp_sum, axis=1)
    label_logit = tl.sum(at_label, axis=1)
    tl.store(nll + row, tl.log(total) - (label_logit - top), mask=is_token)
    tl.store(entropy + row, tl.log(total) - tl.sum(exp_sum_times_logit, axis=1) / total, mask=is_token)
    tl.store(smoothing + row, label_logit - tl.sum(logit_sum, axis=1) / vocabulary, mask=is_token)
    tl.store(correct + row, (label_logit >= top).to(tl.int8), mask=is_token)
    if WITH_GRADIENT:
        per_item = tl.load(factors)
        subtracted = tl.load(factors + 1)
        for start in range(0, vocabulary, COLUMNS):
            columns, inside, z = _chunk(logits, bias, start, is_token, vocabulary, HAS_BIAS, COLUMNS)
            tanh = z
            if HAS_SOFTCAP:
                tanh = _tanh(z / softcap)
                z = softcap * tanh
            slope = tl.exp2(1.4426950408889634 * (z - top[:, None])) / total[:, None]
            slope -= tl.where(columns == label, label_share, 0.0)
            if HAS_SOFTCAP:
                slope += tanh * tanh * (uniform_share - slope)
            slope = slope * per_item - subtracted
            if ROUND_BY_HAND:
                bits = slope.to(tl.int32, bitcast=True)
                bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & -0x10000
                slope = bits.to(tl.float32, bitcast=True)
            tl.store(
                gradient + columns,
                slope.to(gradient.dtype.element_ty),
                mask=inside & is_token[:, None],
            )


def row_pass(
    logits: Tensor,
    labels: Tensor,
    *,
    bias: Tensor | None,
    softcap: float | None,
    beta: float,
    outputs: tuple[Tensor, Tensor, Tensor, Tensor],
    gradient: Tensor | None,
    factors: Tensor,
) -> None:
    """Compute loss, statistics and gradient of T tokens from their products of W and hidden states.

    ``logits`` [T, V] contains the products in float32. The logits z are these plus ``bias`` [V], then
    soft-capped. ``labels`` is [T]. ``outputs`` are four arrays [T] that are written: the negative
    log-likelihood and the entropy in nats (float32), z_label − mean(z) (float32), and 1 if no token is more
    probable than the label (int8).

    ``gradient`` [T, V] is written, or None. It may be the memory of ``logits``. Its entries are the
    derivatives of the smoothed loss in the products, times ``factors[0]``, plus (β/V · factors[0] −
    ``factors[1]``). So with ``factors[1]`` = β/V · factors[0] they are the derivatives of the loss divided by
    1 / factors[0] tokens.
    """
    tokens, vocabulary = logits.shape
    with torch.cuda.device_of(logits):
        _kernel[(-(-tokens // TOKENS),)](
            logits,
            logits.stride(0),
            logits if gradient is None else gradient,
            0 if gradient is None else gradient.stride(0),
            logits if bias is None else bias,
            labels,
            *outputs,
            factors,
            tokens,
            vocabulary,
            1 - beta,
            beta / vocabulary,
            1.0 if softcap is None else softcap,
            HAS_BIAS=bias is not None,
            HAS_SOFTCAP=softcap is not None,
            WITH_GRADIENT=gradient is not None,
            # Triton's interpreter truncates to bfloat16 where a GPU rounds to the nearest number.
            ROUND_BY_HAND=gradient is not None and gradient.dtype == torch.bfloat16 and not logits.is_cuda,
            TOKENS=TOKENS,
            COLUMNS=COLUMNS,
            num_warps=WARPS,
        )
