"""Logits of a block of tokens, computed tile by tile of the vocabulary.

A block is a number of tokens whose logits are worked on together, and a tile is a block's logits for a range
of the vocabulary, small enough for the cache. Logits are in units of log 2 ("bits"), because 2^x is several
times faster than e^x.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

MAX_BLOCK_LOGITS = 2**23
"""Most logits of a block (32 MB in float32). A block of MIN_BLOCK_TOKENS may have more."""
MIN_BLOCK_TOKENS = 128
"""Smaller blocks spend more time on reading W and its gradient than on the products."""
SMALL_BATCH_TOKENS = 32
"""Up to this many tokens keep all their logits: 32 MB at a vocabulary of 256,000."""
TILE_LOGITS = 2**19
"""Approximate number of logits of a tile (2 MB in float32)."""
MIN_TILE_COLUMNS = 1024

BITS_PER_NAT = math.log2(math.e)


@dataclass(frozen=True)
class TileSizes:
    """Tokens of a block, columns of a tile, and the number of leading columns whose logits are stored.

    A stored tile keeps its logits until its gradients are taken. The other tiles share one buffer and are
    computed again, except for the last one, which is still in the buffer.
    """

    block_tokens: int
    tile_columns: int
    stored_columns: int


def tile_sizes(tokens: int, vocabulary: int) -> TileSizes:
    """How [tokens, vocabulary] logits are cut into blocks of nearly equal size, and these into tiles.

    Several blocks store all their tiles, so that each tile is multiplied by W three times. A single block of
    more than SMALL_BATCH_TOKENS stores three tiles in four. Computing the others again is cheaper than
    reading W and its gradient for a second block.
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

    ``rows_with_ones`` [T + 1, last − first] is the memory of the logits and of one more row, for a row of
    ones in the products of the gradients. ``recompute``: another tile overwrites the logits before their
    gradients are taken.
    """

    first: int
    last: int
    rows_with_ones: Tensor
    recompute: bool

    @property
    def logits(self) -> Tensor:
        """[T, last − first]."""
        return self.rows_with_ones[:-1]


class LogitTiles:
    """Logits z = W h + b, or c·tanh(z / c) under a soft-cap c, of one block after another in the same memory.

    ``weight`` [V, D], ``bias`` [V] or None; ``tokens`` is their number over all blocks; ``dtype`` that of the
    logits.
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
        # the product is a logit in bits, or the argument of the soft-cap's tanh
        self._scale = BITS_PER_NAT if softcap is None else 1 / softcap

    def tiles(self, tokens: int) -> list[Tile]:
        """The tiles of a block of ``tokens``, by column. Their logits are not computed yet."""
        rows, stored = tokens + 1, self.sizes.stored_columns
        tiles = []
        for first in range(0, self.vocabulary, self.sizes.tile_columns):
            last = min(first + self.sizes.tile_columns, self.vocabulary)
            # tiles that are not stored share the buffer behind those that are
            offset = min(first, stored)
            memory = self._block[rows * offset : rows * (offset + last - first)].view(rows, -1)
            tiles.append(Tile(first, last, memory, stored <= first and last < self.vocabulary))
        return tiles

    def scaled(self, hidden: Tensor) -> Tensor:
        """``hidden`` [T, D] as ``compute`` takes it."""
        return hidden * self._scale

    def compute(self, scaled: Tensor, tile: Tile) -> Tensor:
        """Write the logits of a tile in bits, [T, last − first], from ``scaled(hidden)``."""
        logits = torch.mm(scaled, self.weight_rows(tile).T, out=tile.logits)
        if self.bias is not None:
            logits += self.bias[tile.first : tile.last].to(self.dtype) * self._scale
        return logits if self.softcap is None else logits.tanh_().mul_(BITS_PER_NAT * self.softcap)

    def weight_rows(self, tile: Tile) -> Tensor:
        """The tile's rows of W, [last − first, D]."""
        return self.weight[tile.first : tile.last].to(self.dtype)

    def scratch(self, number: int, tile: Tile) -> Tensor:
        """Memory of the size of the tile's logits, for temporary results; ``number`` is 0 or 1."""
        return self._scratch[number, : tile.logits.numel()].view_as(tile.logits)
