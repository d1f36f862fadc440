"""A language model whose next token depends on the last token alone, with given probabilities."""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from helpers.models import tokenizer

WIDTH = 264
"""One dimension for each of the 259 tokens, rounded up to a multiple of the number of heads."""


def save(folder: Path, after: Mapping[str, Mapping[str, float]]) -> Path:
    """Write the model to ``folder``. ``after[a][b]`` is the probability that byte ``b`` follows byte ``a``.

    After all other bytes a line break follows. All layers are zero, so that the embedding of the last token, one
    dimension for each token, reaches the head unchanged.
    """
    made = tokenizer()
    ids = {text: made(text, add_special_tokens=False)["input_ids"][0] for text in {"\n", *after}}
    ids |= {
        text: made(text, add_special_tokens=False)["input_ids"][0] for row in after.values() for text in row
    }
    config = LlamaConfig(
        vocab_size=259, hidden_size=WIDTH, intermediate_size=8, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        tie_word_embeddings=False, rms_norm_eps=1e-12,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    logits = torch.full((259, 259), -60.0)
    logits[:, ids["\n"]] = 0.0
    for first, row in after.items():
        logits[ids[first]] = -60.0
        for second, probability in row.items():
            logits[ids[first], ids[second]] = math.log(probability)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            weights.fill_(1.0 if name.endswith("norm.weight") else 0.0)
        model.model.embed_tokens.weight[:, :259] = torch.eye(259)
        # The norm multiplies the only dimension that is not zero by the root of the width.
        model.lm_head.weight[:, :259] = logits.T / math.sqrt(WIDTH)
    model.save_pretrained(folder)
    made.save_pretrained(folder)
    return folder
