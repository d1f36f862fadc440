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
    """Results of the first pass over the logits of a block of T tokens, as input of the gradients.

    ``rows`` is the block's range of tokens. ``hidden`` [T, D] contains their hidden states, and ``scaled``
    [T, D] contains these times the factor of ``LogitTiles``. ``label_logit`` [T] contains the logits of their
    ``labels`` [T] in bits. ``tile_tops`` contains for each tile the maximum logit [T] of all tiles up to it.
    ``sums`` covers all tiles. With a soft-cap, a tile's memory contains its logits. Otherwise it contains
    2^(logit − the tile's maximum in ``tile_tops``).
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
    """Gradients of the loss in ``hidden`` [N, D], ``weight`` [V, D] and ``bias`` [V]; None if not ``needed``.

    The derivative of a token's loss in its logits is 2^(z − top) / exp_sum − β/V, minus 1 − β at the label.
    With a soft-cap it is multiplied by 1 − tanh². The hidden states, not the powers 2^(z − top), are divided
    by exp_sum. This costs one division per entry of the hidden states instead of a pass over the block, and
    is as exact for huge logits. For the same reason a tile's powers keep the maximum that was known when they
    were computed, and a factor per token converts them to the final maximum.
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
        # The first block of tokens writes the gradient of the weight, and later blocks add to it. So the
        # memory needs zeros only if there is no block.
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
        """Add the gradients of a block. This overwrites the logits in its tiles."""
        hidden = block.hidden / self._num_items
        hidden_share = hidden / block.sums.exp_sum[:, None]
        # Start with the last tile, because its logits are still in the buffer that several tiles share.
        for tile, tile_top in reversed(list(zip(block.tiles, block.tile_tops, strict=True))):
            scale = self._logits_to_derivatives(block, tile, tile_top)
            self._add_tile(block, tile, scale, hidden_share)
        self._add_labels(block, hidden)

    def finish(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The gradients of the loss in hidden states, weight and bias.

        Call it after the last ``add_block``.
        """
        if self._uniform.linear:
            self._uniform.subtract_gradients(self.hidden, self.bias)
        for grad in (self.hidden, self.bias):
            if grad is not None:
                grad /= self._num_items
        return self.hidden, self.weight, self.bias

    def _logits_to_derivatives(self, block: BlockPass, tile: Tile, tile_top: Tensor) -> Tensor:
        """Replace a tile's logits by the loss's derivatives in them, up to two factors per token.

        The first factor is returned, [T, 1]. The second is 1 / exp_sum. The part of the label is not
        included, and without a soft-cap the uniform part is not included either.
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

        In the first block a row of ones is appended to the tile. Then the products also yield the sum of the
        rows of W, and add the uniform part of the gradient to every row. This saves another pass over W and
        its gradient, which are the largest arrays in memory.
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
