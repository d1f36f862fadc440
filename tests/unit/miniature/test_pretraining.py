"""Tokenizers and batches for the miniature's pre-training."""

import pytest
import torch

from polycal.miniature import documents, pretraining
from polycal.miniature.world import World


@pytest.mark.parametrize("architecture", ["mistral", "llama", "gemma2"])
def test_the_tokenizer_returns_any_text_unchanged(architecture):
    tokenizer = pretraining.tokenizer(["a", " the"], architecture)
    for text in ("Ọ̀rọ̀ 中文 عربى हिन्दी 🙂\n\n  two  spaces", "the\tthe"):
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_the_seed_determines_the_documents():
    world = World(0, ["en", "de"])
    tokenizer = pretraining.tokenizer(documents.vocabulary(world), "llama")
    first, again, other = (pretraining.batches(world, tokenizer, 4, 8, seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(a.shape != b.shape or not torch.equal(a, b) for a, b in zip(first, other, strict=True))
