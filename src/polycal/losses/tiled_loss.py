"""The smoothed loss as an autograd function that never stores the logits of all tokens of a large batch.

With logits z the smoothed loss of a token is

    lse(z) − (1 − β) z_label − β mean(z).

One pass over the tiles of a block of tokens computes the loss. A second pass computes the gradients while the
logits are still in memory. So the forward pass already computes the gradients, divided by the number of
target tokens. The backward pass changes them only if the gradient that it gets is not 1.
"""

from typing import Any

import torch
from torch import Tensor

from polycal.losses.logit_tiles import BITS_PER_NAT, LogitTiles
from polycal.losses.loss_gradients import BlockPass, LossGradients
from polycal.losses.running_log_sum_exp import RunningLogSumExp
from polycal.losses.stored_gradients import StoredGradients
from polycal.losses.uniform_term import UniformTerm


class TiledSmoothedLoss(StoredGradients):
    """The loss (scalar), and ``nll``, ``entropy`` and ``correct`` of ``TokenStatistics``, each [N].

    ``hidden`` is [N, D], ``weight`` is [V, D], ``bias`` is [V] or None, and ``labels`` is [N] in 0 … V−1. The
    loss is summed over the tokens and divided by ``num_items``. Arguments are not checked. The computation
    uses float32, or float64 if ``hidden`` or ``weight`` is float64.
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
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        dtype = torch.promote_types(torch.promote_types(hidden.dtype, weight.dtype), torch.float32)
        logit_tiles = LogitTiles(weight, bias, softcap, tokens=len(hidden), dtype=dtype)
        uniform = UniformTerm(logit_tiles, hidden, beta=beta, num_items=num_items)
        gradients = LossGradients(
            logit_tiles,
            uniform,
            hidden,
            beta=beta,
            num_items=num_items,
            needed=StoredGradients.begin(ctx, (hidden, weight, bias), with_gradients),
        )
        nll = torch.zeros(len(hidden), dtype=dtype, device=hidden.device)
        entropy = torch.zeros_like(nll)
        correct = torch.zeros_like(nll, dtype=torch.bool)
        label_logit_sum = torch.zeros((), dtype=dtype, device=hidden.device)
        for start in range(0, len(hidden), logit_tiles.sizes.block_tokens):
            rows = slice(start, start + logit_tiles.sizes.block_tokens)
            block = _first_pass(logit_tiles, uniform, gradients, rows, hidden[rows].to(dtype), labels[rows])
            nll[rows] = block.sums.nll(block.label_logit)
            entropy[rows] = block.sums.entropy()
            correct[rows] = block.label_logit >= block.sums.top
            label_logit_sum += block.label_logit.sum()
            if gradients.needed:
                gradients.add_block(block)
        smoothing = beta * (label_logit_sum - uniform.logit_mean_sum()) / BITS_PER_NAT
        loss = (nll.sum() + smoothing) / num_items
        ctx.gradients = gradients.finish()
        ctx.mark_non_differentiable(nll, entropy, correct)
        return loss, nll, entropy, correct


def _first_pass(
    logit_tiles: LogitTiles,
    uniform: UniformTerm,
    gradients: LossGradients,
    rows: slice,
    hidden: Tensor,
    labels: Tensor,
) -> BlockPass:
    """Compute the logits of a block, their log-sum-exp, the labels' logits, and sums for the uniform term."""
    capped = logit_tiles.softcap is not None
    sum_weight = uniform.linear and rows.start == 0 and gradients.hidden is None
    scaled, tiles = logit_tiles.scaled(hidden), logit_tiles.tiles(len(labels))
    sums = RunningLogSumExp(len(labels), dtype=logit_tiles.dtype, device=hidden.device)
    tokens = torch.arange(len(labels), device=labels.device)
    label_logit, tile_tops = torch.zeros_like(sums.top), []
    for tile in tiles:
        logits = logit_tiles.compute(scaled, tile)
        if uniform.capped:
            uniform.add_capped_logits(logits)
        elif sum_weight:
            uniform.add_weight_rows(tile)
        column = labels - tile.first
        inside = (column >= 0) & (labels < tile.last)
        column = column.clamp(0, tile.last - tile.first - 1)
        label_logit = torch.where(inside, logits[tokens, column], label_logit)
        # The derivative of a soft-cap needs the logits again. Without a soft-cap the powers replace them.
        powers = logit_tiles.scratch(1, tile) if capped else logits
        sums.add(logits, differences=logit_tiles.scratch(0, tile), powers=powers)
        tile_tops.append(sums.top)
    return BlockPass(rows, hidden, scaled, labels, tiles, tile_tops, sums, label_logit)
