"""Logits of a block of tokens, computed in tiles of the vocabulary.

A block is a number of tokens that are processed together. A tile contains a block's logits for a range of the
vocabulary, and fits into the processor's cache. Logits are in units of log 2 ("bits"), because 2^x is several
times faster than e^x.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

MAX_BLOCK_LOGITS = 2**23
"""Largest number of logits in a block (32 MB in float32). A block of MIN_BLOCK_TOKENS may have more."""
MIN_BLOCK_TOKENS = 256
"""A smaller block would spend more time on reading W and its gradient than on the matrix products."""
SMALL_BATCH_TOKENS = 32
"""All logits of a batch of at most this many tokens are stored: 32 MB for a vocabulary of 256,000."""
TILE_LOGITS = 2**19
"""Approximate number of logits of a tile (2 MB in float32)."""
MIN_TILE_COLUMNS = 1024

BITS_PER_NAT = math.log2(math.e)


@dataclass(frozen=True)
class TileSizes:
    """Tokens of a block, columns of a tile, and the number of leading columns whose logits are stored.

    A stored tile keeps its logits until its gradients are computed. The other tiles share one buffer. Their
    logits are computed a second time for the gradients, except those of the last tile, which are still in the
    buffer.
    """

    block_tokens: int
    tile_columns: int
    stored_columns: int


def tile_sizes(tokens: int, vocabulary: int) -> TileSizes:
    """Divide [tokens, vocabulary] logits into blocks of nearly equal size, and each block into tiles.

    If there are several blocks, all tiles but the last are stored, so no logits are computed twice. A single
    block of more than SMALL_BATCH_TOKENS tokens stores three quarters of these tiles. To compute the others
    again is cheaper than to read W and its gradient for a second block.
    """
    blocks = max(1, -(-tokens // max(MIN_BLOCK_TOKENS, MAX_BLOCK_LOGITS // vocabulary)))
    block_tokens = max(1, -(-tokens // blocks))
    columns = min(vocabulary, max(MIN_TILE_COLUMNS, TILE_LOGITS // block_tokens))
    stored = -(-vocabulary // columns) - 1
    if blocks == 1 and tokens > SMALL_BATCH_TOKENS:
        stored = 3 * stored // 4
    return TileSizes(block_tokens, columns, columns * stored)


@dataclass(frozen=True)
class Tile:
    """Logits of T tokens for the rows ``first`` … ``last`` − 1 of W.

    ``rows_with_ones`` [T + 1, last − first] is the memory of the logits and of one more row. The gradients
    need this row for ones. ``recompute`` is true if another tile overwrites the logits before their gradients
    are computed.
    """

    first: int
    last: int
    rows_with_ones: Tensor
    recompute: bool

    @property
    def logits(self) -> Tensor:
        """The logits in bits, [T, last − first]."""
        return self.rows_with_ones[:-1]


class LogitTiles:
    """Logits of one block after another in the same memory: z = W h + b, or c·tanh(z / c) with a soft-cap c.

    ``weight`` is [V, D], and ``bias`` is [V] or None. ``tokens`` is the number of tokens in all blocks.
    ``dtype`` is the type of the logits.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, softcap: float | None, *, tokens: int, dtype: torch.dtype
    ) -> None:
        self.weight, self.bias, self.softcap, self.dtype = weight, bias, softcap, dtype
        self.vocabulary = len(weight)
        self.sizes = sizes = tile_sizes(tokens, self.vocabulary)
        width = min(sizes.stored_columns + sizes.tile_columns, self.vocabulary)
        self._block = torch.empty((sizes.block_tokens + 1) * width, dtype=dtype, device=weight.device)
        self._scratch = torch.empty(
            2, sizes.block_tokens * sizes.tile_columns, dtype=dtype, device=weight.device
        )
        # The product of a scaled hidden state and a row of W is a logit in bits, or the argument of tanh.
        self._scale = BITS_PER_NAT if softcap is None else 1 / softcap

    def tiles(self, tokens: int) -> list[Tile]:
        """The tiles of a block of ``tokens`` tokens, in order of their columns.

        Their logits are not computed yet.
        """
        rows, stored = tokens + 1, self.sizes.stored_columns
        tiles = []
        for first in range(0, self.vocabulary, self.sizes.tile_columns):
            last = min(first + self.sizes.tile_columns, self.vocabulary)
            # Tiles that are not stored share the buffer behind the stored tiles.
            offset = min(first, stored)
            memory = self._block[rows * offset : rows * (offset + last - first)].view(rows, -1)
            tiles.append(Tile(first, last, memory, stored <= first and last < self.vocabulary))
        return tiles

    def scaled(self, hidden: Tensor) -> Tensor:
        """``hidden`` [T, D] times the factor that ``compute`` expects."""
        return hidden * self._scale

    def compute(self, scaled: Tensor, tile: Tile) -> Tensor:
        """Write the logits of a tile in bits, [T, last − first], from ``scaled(hidden)``, and return them."""
        logits = torch.mm(scaled, self.weight_rows(tile).T, out=tile.logits)
        if self.bias is not None:
            logits += self.bias[tile.first : tile.last].to(self.dtype) * self._scale
        return logits if self.softcap is None else logits.tanh_().mul_(BITS_PER_NAT * self.softcap)

    def weight_rows(self, tile: Tile) -> Tensor:
        """The tile's rows of W, [last − first, D]."""
        return self.weight[tile.first : tile.last].to(self.dtype)

    def scratch(self, number: int, tile: Tile) -> Tensor:
        """One of two buffers of the shape of the tile's logits, for temporary results.

        ``number`` is 0 or 1.
        """
        return self._scratch[number, : tile.logits.numel()].view_as(tile.logits)
