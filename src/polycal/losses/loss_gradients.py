"""Gradients of the smoothed loss in hidden states, output weight and bias, block by block."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from polycal.losses.logit_tiles import BITS_PER_NAT, LogitTiles, Tile
from polycal.losses.running_log_sum_exp import RunningLogSumExp
from polycal.losses.uniform_term import UniformTerm


@dataclass(frozen=True)
class BlockPass:
    """What the first pass over the logits of a block of T tokens leaves for the gradients.

    ``rows`` are the block's tokens, ``hidden`` [T, D] and ``scaled`` [T, D] their hidden states,
    ``label_logit`` [T] the logits of their ``labels`` [T] in bits. ``tile_tops`` contains, for each tile, the
    maximum [T] over the tiles up to it. A tile contains its logits under a soft-cap, and otherwise 2^(logit −
    its ``tile_tops``).
    """

    rows: slice
    hidden: Tensor
    scaled: Tensor
    labels: Tensor
    tiles: Sequence[Tile]
    tile_tops: Sequence[Tensor]
    sums: RunningLogSumExp
    label_logit: Tensor


class LossGradients:
    """Gradients in ``hidden`` [N, D], ``weight`` [V, D] and ``bias`` [V]; None for those not ``needed``.

    The derivative of a token's loss in its logits is 2^(z − top) / exp_sum − β/V, minus 1 − β at the label,
    and times 1 − tanh² under a soft-cap. The hidden states are divided by exp_sum in place of the powers:
    this costs one number per token and not a pass over the block, and is as exact for huge logits. For the
    same reason the powers keep the maximum of their tile, and factors per token bring them to the last
    maximum.
    """

    def __init__(
        self,
        logit_tiles: LogitTiles,
        uniform: UniformTerm,
        hidden: Tensor,
        *,
        beta: float,
        num_items: Tensor | float,
        needed: Sequence[bool],
    ) -> None:
        self._tiles, self._uniform, self._beta, self._num_items = logit_tiles, uniform, beta, num_items
        # the first block of tokens writes the gradient of the weight, the others add to it
        empty = torch.empty if len(hidden) else torch.zeros
        self.hidden, self.weight, self.bias = (
            fill(x.shape, dtype=logit_tiles.dtype, device=hidden.device)
            if x is not None and x_needed
            else None
            for fill, x, x_needed in zip(
                (torch.zeros, empty, torch.zeros),
                (hidden, logit_tiles.weight, logit_tiles.bias),
                needed,
                strict=True,
            )
        )
        self.needed = any(needed)

    def add_block(self, block: BlockPass) -> None:
        """Add the gradients of a block. The logits in its tiles are overwritten."""
        hidden = block.hidden / self._num_items
        hidden_share = hidden / block.sums.exp_sum[:, None]
        # from the last tile on, because its logits are still in the buffer that tiles share
        for tile, tile_top in reversed(list(zip(block.tiles, block.tile_tops, strict=True))):
            scale = self._logits_to_derivatives(block, tile, tile_top)
            self._add_tile(block, tile, scale, hidden_share)
        self._add_labels(block, hidden)

    def finish(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The gradients of the loss in hidden states, weight and bias, after all blocks."""
        if self._uniform.linear:
            self._uniform.subtract_gradients(self.hidden, self.bias)
        for grad in (self.hidden, self.bias):
            if grad is not None:
                grad /= self._num_items
        return self.hidden, self.weight, self.bias

    def _logits_to_derivatives(self, block: BlockPass, tile: Tile, tile_top: Tensor) -> Tensor:
        """Turn the logits of a tile into the derivatives of the loss, up to factors per token.

        The factors are the result, [T, 1], and 1 / exp_sum. Without a soft-cap the uniform part is left out.
        """
        softcap, top, powers = self._tiles.softcap, block.sums.top, tile.logits
        if tile.recompute:
            self._tiles.compute(block.scaled, tile)
        if softcap is None:
            if not tile.recompute:
                return torch.exp2(tile_top - top)[:, None]
            powers.sub_(top[:, None]).exp2_()
            return torch.ones_like(top)[:, None]
        tanh_squared = torch.div(powers, BITS_PER_NAT * softcap, out=self._tiles.scratch(0, tile)).square_()
        powers.sub_(top[:, None]).exp2_().sub_(self._uniform.share * block.sums.exp_sum[:, None])
        powers.addcmul_(powers, tanh_squared, value=-1)
        return torch.ones_like(top)[:, None]

    def _add_tile(self, block: BlockPass, tile: Tile, scale: Tensor, hidden_share: Tensor) -> None:
        """Add the products of a tile's derivatives with W and with the hidden states.

        In the first block a row of ones is appended to the tile, so that the products also yield the sum of
        the rows of W and add the uniform part of the gradient of every row. This saves another pass over W
        and its gradient, the largest arrays in memory.
        """
        derivatives, tokens = tile.logits, len(block.labels)
        first_block = block.rows.start == 0
        factors = derivatives
        if first_block and self._uniform.linear:
            factors = tile.rows_with_ones
            factors[-1] = 1
        if self.hidden is not None:
            products = factors @ self._tiles.weight_rows(tile)
            self.hidden[block.rows].addcmul_(scale, products[:tokens])
            if len(factors) > tokens:
                self._uniform.add_weight_sum(products[tokens])
        if self.weight is not None:
            rows, shares = self.weight[tile.first : tile.last], hidden_share * scale
            if not first_block:
                rows.addmm_(derivatives.T, shares)
            elif len(factors) > tokens:
                torch.mm(factors.T, torch.cat((shares, self._uniform.weight_row_gradient)), out=rows)
            else:
                torch.mm(factors.T, shares, out=rows)
        if self.bias is not None:
            self.bias[tile.first : tile.last].addmv_(derivatives.T, scale[:, 0] / block.sums.exp_sum)

    def _add_labels(self, block: BlockPass, hidden: Tensor) -> None:
        """Divide the block's gradient in hidden states by exp_sum, and add −(1 − β) at the labels."""
        softcap, labels = self._tiles.softcap, block.labels
        at_label = (self._beta - 1) * (
            torch.ones_like(block.label_logit)
            if softcap is None
            else 1 - (block.label_logit / (BITS_PER_NAT * softcap)) ** 2
        )
        if self.hidden is not None:
            label_rows = self._tiles.weight[labels].to(self._tiles.dtype)
            self.hidden[block.rows].div_(block.sums.exp_sum[:, None]).addcmul_(at_label[:, None], label_rows)
        if self.weight is not None:
            self.weight.index_put_((labels,), at_label[:, None] * hidden, accumulate=True)
        if self.bias is not None:
            self.bias.index_put_((labels,), at_label, accumulate=True)
