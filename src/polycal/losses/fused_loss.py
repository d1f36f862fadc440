"""The smoothed loss for CUDA: products on tensor cores, and one kernel for everything between them.

A block is a number of tokens with all their logits. Three products are needed per block: the logits, and the
gradients of hidden states and of W. Their factors are in bfloat16 or float32, and their results in float32. The
gradient of W is accumulated in float32.

In bfloat16, an entry p − β/V of the gradient in the logits is rounded. Where p is far below β/V, all entries
would be rounded in the same direction, by up to 1 in 2⁹. So the entries contain s, which is β/V rounded to
bfloat16. The rest r = β/V − s is added in closed form: −r Σ h to each row of W's gradient, and −r Σ W to the
gradient of each hidden state. For this the last block has more rows than tokens. One of them has ones as its
gradient in the logits and −r Σ h as its hidden state, so the products contain both sums.
"""

from typing import Any

import torch
from torch import Tensor

from polycal.losses import float32_products
from polycal.losses.row_pass import row_pass
from polycal.losses.stored_gradients import StoredGradients

MAX_BLOCK_BYTES = 2**31
"""Largest memory of a block. With it, reading and writing W's gradient takes less time than the products."""
DEVICE_SHARE = 64
"""A block takes at most the memory of the device divided by this, so a run of the same device repeats it."""
MIN_BLOCK_TOKENS = 16
MORE_ROWS = 8
"""Rows of the last block that are no tokens; the tensor cores need multiples of eight."""
ALIGNMENT = 16
"""Rows of logits begin at multiples of so many numbers."""


def block_tokens(tokens: int, token_bytes: int, *, total: int, free: int) -> int:
    """The number of tokens of a block, such that ``tokens`` are divided into nearly equal blocks.

    ``token_bytes`` is the memory of the logits of one token. ``total`` and ``free`` are the memory of the
    device in bytes. The size depends on ``total`` alone, unless less than twice as much memory is free. It
    decides the order in which the gradient of W is summed.
    """
    memory = min(MAX_BLOCK_BYTES, total // DEVICE_SHARE, free // 2)
    largest = max(MIN_BLOCK_TOKENS, memory // token_bytes)
    blocks = max(1, -(-tokens // largest))
    return max(1, -(-tokens // blocks))


def device_memory(device: torch.device) -> tuple[int, int]:
    """Total and free memory in bytes. Free memory includes what PyTorch holds but does not use.

    A device other than a GPU is treated as one with 8 GB.
    """
    if device.type != "cuda":
        return 2**33, 2**33
    free, total = torch.cuda.mem_get_info(device)
    return total, free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


class FusedSmoothedLoss(StoredGradients):
    """The loss (scalar), and ``nll``, ``entropy`` and ``correct`` of ``TokenStatistics``, each [N].

    ``hidden`` is [N, D], ``weight`` is [V, D], ``bias`` is [V] or None, and ``labels`` is [N] in 0 … V−1. The
    loss is summed over the tokens and divided by ``num_items``. The factors of the products are in
    ``product_dtype``, bfloat16 or float32. Everything else is in float32. Arguments are not checked.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        beta: float,
        softcap: float | None,
        num_items: Tensor | float,
        with_gradients: bool,
        product_dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        needed = StoredGradients.begin(ctx, (hidden, weight, bias), with_gradients)
        tokens, device = len(hidden), hidden.device
        factors, rest = _factors(beta / len(weight), num_items, product_dtype, device)
        blocks = _Blocks(hidden, weight, product_dtype, rest, gradients=any(needed))
        gradients = _Gradients(blocks, bias, needed)
        nll, entropy, smoothing = torch.zeros(3, tokens, device=device).unbind()
        correct = torch.zeros(tokens, dtype=torch.int8, device=device)
        for start in range(0, tokens, blocks.tokens):
            rows = slice(start, min(start + blocks.tokens, tokens))
            logits, derivatives = blocks.compute(rows)
            row_pass(
                logits,
                labels[rows],
                bias=bias,
                softcap=softcap,
                beta=beta,
                outputs=(nll[rows], entropy[rows], smoothing[rows], correct[rows]),
                gradient=derivatives,
                factors=factors,
            )
            if derivatives is not None:
                gradients.add_block(rows)
        ctx.gradients = gradients.finish(rest)
        correct = correct.bool()
        ctx.mark_non_differentiable(nll, entropy, correct)
        return (nll.sum() + beta * smoothing.sum()) * factors[0], nll, entropy, correct


def _factors(
    share: float, num_items: Tensor | float, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """The ``factors`` of ``row_pass``, and the rest of the uniform share; None if there is no rest."""
    if isinstance(num_items, Tensor):
        per_item = 1 / num_items.to(device, torch.float32)
    else:
        per_item = torch.full((), 1 / num_items, device=device)
    uniform = share * per_item
    subtracted = uniform.to(dtype).float()
    rest = uniform - subtracted if share > 0 and dtype != torch.float32 else None
    return torch.stack((per_item, subtracted)), rest


class _Blocks:
    """The logits of one block after another in the same memory, and their derivatives.

    Derivatives in float32 are in the memory of the logits. ``tokens`` is the number of tokens of a block.
    """

    def __init__(
        self, hidden: Tensor, weight: Tensor, dtype: torch.dtype, rest: Tensor | None, *, gradients: bool
    ) -> None:
        self.count, vocabulary = len(hidden), len(weight)
        self.hidden, self.weight = hidden.to(dtype), weight.to(dtype)
        self.more = MORE_ROWS if gradients and rest is not None else 0
        if self.more and rest is not None:
            added = torch.zeros(self.more, hidden.shape[1], dtype=dtype, device=hidden.device)
            added[0] = -rest * hidden.sum(0, dtype=torch.float32)
            self.hidden = torch.cat((self.hidden, added))
        width = -(-vocabulary // ALIGNMENT) * ALIGNMENT
        own_memory = gradients and dtype != torch.float32
        total, free = device_memory(hidden.device)
        token_bytes = width * (4 + dtype.itemsize * own_memory)
        self.tokens = block_tokens(self.count, token_bytes, total=total, free=free)
        self._logits = torch.empty(self.tokens, width, device=hidden.device)[:, :vocabulary]
        self._derivatives: Tensor | None = self._logits if gradients else None
        if own_memory:
            rows = self.tokens + self.more
            self._derivatives = torch.empty(rows, width, dtype=dtype, device=hidden.device)[:, :vocabulary]

    def compute(self, rows: slice) -> tuple[Tensor, Tensor | None]:
        """Write the products of a block. Returns [T, V] of them, and the memory [T, V] of their derivatives."""
        logits = self._logits[: rows.stop - rows.start]
        float32_products.multiply(self.hidden[rows], self.weight.T, out=logits)
        return logits, None if self._derivatives is None else self._derivatives[: len(logits)]

    def factors(self, rows: slice) -> tuple[slice, Tensor]:
        """The rows of ``hidden`` for the gradients of a block, and their derivatives."""
        assert self._derivatives is not None
        tokens = rows.stop - rows.start
        more = self.more if rows.stop == self.count else 0
        derivatives = self._derivatives[: tokens + more]
        if more:
            derivatives[tokens] = 1
            derivatives[tokens + 1 :] = 0
        return slice(rows.start, rows.stop + more), derivatives


class _Gradients:
    """The gradients in hidden states [N, D], W [V, D] and bias [V], in float32; None if not ``needed``."""

    def __init__(self, blocks: _Blocks, bias: Tensor | None, needed: list[bool]) -> None:
        self._blocks, device = blocks, blocks.weight.device
        self.hidden = torch.empty(blocks.hidden.shape, device=device) if needed[0] else None
        self.weight = None
        if needed[1]:
            # The first block writes the gradient. Without any block it must be zero.
            empty = torch.empty if blocks.count else torch.zeros
            self.weight = empty(blocks.weight.shape, device=device)
        self.bias = torch.zeros(bias.shape, device=device) if bias is not None and needed[2] else None

    def add_block(self, rows: slice) -> None:
        """Add the gradients of the block whose derivatives are in memory."""
        with_more, derivatives = self._blocks.factors(rows)
        if self.hidden is not None:
            float32_products.multiply(derivatives, self._blocks.weight, out=self.hidden[with_more])
        if self.weight is not None:
            hidden = self._blocks.hidden[with_more]
            if rows.start == 0:
                float32_products.multiply(derivatives.T, hidden, out=self.weight)
            else:
                float32_products.add_product(self.weight, derivatives.T, hidden)
        if self.bias is not None:
            self.bias += derivatives[: rows.stop - rows.start].sum(0, dtype=torch.float32)

    def finish(self, rest: Tensor | None) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The gradients, with the rest of the uniform share. Call it after the last block."""
        hidden, tokens = self.hidden, self._blocks.count
        if hidden is not None:
            if rest is not None:
                # behind the last token: the sum of the rows of W
                hidden[:tokens] -= rest * hidden[tokens]
            hidden = hidden[:tokens]
        if self.bias is not None and rest is not None:
            self.bias -= rest * tokens
        return hidden, self.weight, self.bias
