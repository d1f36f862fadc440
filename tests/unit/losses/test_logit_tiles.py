import pytest
import torch

from polycal.losses import logit_tiles
from polycal.losses.logit_tiles import BITS_PER_NAT, LogitTiles, TileSizes, tile_sizes


@pytest.mark.parametrize(
    ("n", "v"), [(1, 32000), (128, 256000), (512, 32000), (4096, 128256), (5, 3), (0, 7)]
)
def test_blocks_are_even_and_bounded(n, v):
    sizes = tile_sizes(n, v)
    rows = sizes.block_tokens
    assert 0 <= sizes.stored_columns < v
    assert rows * v <= max(logit_tiles.MAX_BLOCK_LOGITS, logit_tiles.MIN_BLOCK_TOKENS * v)
    assert 1 <= rows <= max(n, 1)
    assert rows * (-(-n // rows)) - n < max(1, -(-n // rows))
    assert 1 <= sizes.tile_columns <= v


@pytest.mark.parametrize(("v", "stored"), [(699, 0), (1400, 0), (1401, 700), (4903, 3500)])
def test_a_single_block_stores_three_tiles_in_four(v, stored, monkeypatch):
    for name, value in {"SMALL_BATCH_TOKENS": 2, "TILE_LOGITS": 1, "MIN_TILE_COLUMNS": 700}.items():
        monkeypatch.setattr(logit_tiles, name, value)
    assert tile_sizes(16, v) == TileSizes(16, min(v, 700), stored)


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("biased", [False, True])
def test_tiles_are_the_logits_in_bits(biased, softcap, small_tiles):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    weight = torch.randn(1501, 6, generator=generator, dtype=torch.float64)
    bias = torch.randn(1501, generator=generator, dtype=torch.float64) if biased else None
    expected = torch.nn.functional.linear(hidden, weight, bias)
    if softcap is not None:
        expected = softcap * torch.tanh(expected / softcap)
    tiles = LogitTiles(weight, bias, softcap, tokens=4, dtype=torch.float64)
    parts = tiles.tiles(4)
    assert [(tile.first, tile.last) for tile in parts] == [(0, 700), (700, 1400), (1400, 1501)]
    for tile in parts:
        logits = tiles.compute(tiles.scaled(hidden), tile) / BITS_PER_NAT
        assert torch.allclose(logits, expected[:, tile.first : tile.last], rtol=1e-12, atol=1e-12)


def test_only_tiles_that_are_overwritten_are_computed_again(monkeypatch):
    for name, value in {"SMALL_BATCH_TOKENS": 2, "TILE_LOGITS": 1, "MIN_TILE_COLUMNS": 700}.items():
        monkeypatch.setattr(logit_tiles, name, value)
    parts = LogitTiles(torch.zeros(4903, 2), None, None, tokens=16, dtype=torch.float32).tiles(16)
    for tile in parts:
        tile.rows_with_ones.fill_(tile.first)
    overwritten = [bool((tile.logits != tile.first).any()) for tile in parts]
    assert [tile.recompute for tile in parts] == overwritten == [False] * 5 + [True] * 2 + [False]
