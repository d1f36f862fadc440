"""The uniform part of the smoothed loss: β times the mean logit of each token, and its gradients.

Without a soft-cap the mean logit is h · (mean row of W) + mean bias. So its sum over the tokens needs only
the sum of the hidden states and the sum of the rows of W. A soft-cap is not linear, so the capped logits of
each tile are summed.
"""

import torch
from torch import Tensor

from polycal.losses.logit_tiles import BITS_PER_NAT, LogitTiles, Tile


class UniformTerm:
    """Sum over N tokens of their mean logits, from ``hidden`` [N, D] and the weight and bias of ``logit_tiles``.

    ``share`` is β/V, the target probability of each row of W that is not the label. If ``linear``, the term
    is computed from the sums of the hidden states and of the rows of W. If ``capped``, it is computed from
    the soft-capped logits. Both are false for β = 0, because then the term is zero.
    """

    def __init__(
        self, logit_tiles: LogitTiles, hidden: Tensor, *, beta: float, num_items: Tensor | float
    ) -> None:
        dtype, device, weight = logit_tiles.dtype, hidden.device, logit_tiles.weight
        self._tiles, self._tokens = logit_tiles, len(hidden)
        self.share = beta / logit_tiles.vocabulary
        self.linear = beta > 0 and logit_tiles.softcap is None
        self.capped = beta > 0 and logit_tiles.softcap is not None
        self._capped_sum = torch.zeros((), dtype=dtype, device=device)
        self._weight_sum = torch.zeros(weight.shape[1], dtype=dtype, device=device)
        self._hidden_sum = hidden.sum(0, dtype=dtype)
        self.weight_row_gradient = -self.share * self._hidden_sum[None] / num_items
        """The uniform part of the gradient, [1, D]. It is the same for each row of W."""

    def add_capped_logits(self, logits: Tensor) -> None:
        """Add a tile of soft-capped logits, [T, C] in bits."""
        self._capped_sum += logits.sum() / self._tiles.vocabulary

    def add_weight_rows(self, tile: Tile) -> None:
        """Add a tile's rows of W. Each row must be added once, here or by ``add_weight_sum``."""
        self._weight_sum += self._tiles.weight[tile.first : tile.last].sum(0, dtype=self._tiles.dtype)

    def add_weight_sum(self, weight_sum: Tensor) -> None:
        """Add the sum of a tile's rows of W, [D]."""
        self._weight_sum += weight_sum

    def logit_mean_sum(self) -> Tensor:
        """Σ over tokens of the mean logit in bits; a scalar."""
        if not self.linear:
            return self._capped_sum
        bias = self._tiles.bias
        bias_sum = 0 if bias is None else bias.sum(dtype=self._tiles.dtype)
        product = self._hidden_sum @ self._weight_sum
        return BITS_PER_NAT / self._tiles.vocabulary * (product + self._tokens * bias_sum)

    def subtract_gradients(self, grad_hidden: Tensor | None, grad_bias: Tensor | None) -> None:
        """Subtract the term's gradients, not yet divided by ``num_items``, from those in [N, D] and in [V]."""
        if grad_hidden is not None:
            grad_hidden -= self.share * self._weight_sum
        if grad_bias is not None:
            grad_bias -= self.share * self._tokens
