import pytest

from polycal.losses import logit_tiles


@pytest.fixture
def small_tiles(monkeypatch):
    """Blocks of at most 5 tokens in tiles of 700 columns."""
    limits = {"MAX_BLOCK_LOGITS": 1, "MIN_BLOCK_TOKENS": 5, "TILE_LOGITS": 1, "MIN_TILE_COLUMNS": 700}
    for name, value in limits.items():
        monkeypatch.setattr(logit_tiles, name, value)
