"""Base models of the miniature: real architectures with a tokenizer of their own, trained from nothing."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, processors
from torch import Tensor
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
)

from polycal.miniature import documents
from polycal.miniature.world import World

KINDS = ("question", "statements", "question", "instruction")
"""Documents of one kind make a batch; the kinds follow in turn."""
CONTEXT = 512
"""Longest context, in tokens."""
WINDOW = 32
"""Sliding window, in tokens: a question fits, one behind several examples does not."""
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.05,
}
SPECIAL = {
    "mistral": ("<unk>", "<s>", "</s>", "<pad>"),
    "llama": ("<|unknown|>", "<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>"),
    "gemma2": ("<unk>", "<bos>", "<eos>", "<pad>"),
}
"""Unknown, beginning, end and padding, in the words of each family; their ids are 0 to 3."""
BOS, EOS, PAD = 1, 2, 3
IGNORED = -100


def tokenizer(words: Sequence[str], architecture: str) -> PreTrainedTokenizerFast:
    """A unigram tokenizer that knows ``words`` as single tokens and falls back to bytes for all else.

    Spaces are written ``▁`` and belong to the word behind them, as in SentencePiece. Any text comes back as
    it was, but for one that spells a byte's token, such as <0x41>.
    """
    special = SPECIAL[architecture]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    # The fewest tokens win; a byte costs more than any word, so that no word is taken apart.
    scored = [(token, 0.0) for token in special] + [(token, -20.0) for token in bytes_]
    scored += [(word.replace(" ", "▁"), -10.0) for word in words]
    made = Tokenizer(models.Unigram(scored, unk_id=0, byte_fallback=True))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), decoders.Replace("▁", " ")])
    made.add_special_tokens(list(special))
    made.post_processor = processors.TemplateProcessing(
        single=f"{special[BOS]} $A", special_tokens=[(special[BOS], BOS)]
    )
    unknown, bos, eos, pad = special
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        unk_token=unknown,
        bos_token=bos,
        eos_token=eos,
        pad_token=pad,
        model_max_length=CONTEXT,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


def untrained(architecture: str, vocabulary: int, seed: int) -> Any:
    """A model with the features of its family and weights drawn for ``seed``."""
    torch.manual_seed(seed)
    shape: dict[str, Any] = {
        **SHAPE,
        "vocab_size": vocabulary,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
    }
    if architecture == "mistral":
        return MistralForCausalLM(MistralConfig(**shape, sliding_window=WINDOW, tie_word_embeddings=False))
    if architecture == "llama":
        rope = {
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": CONTEXT // 8,
        }
        return LlamaForCausalLM(LlamaConfig(**shape, rope_parameters=rope, tie_word_embeddings=False))
    capped: dict[str, Any] = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
    head: dict[str, Any] = {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": WINDOW}
    config = Gemma2Config(**shape, **capped, **head, tie_word_embeddings=True)
    # Only the eager form of attention applies the soft-cap.
    config._attn_implementation = "eager"
    return Gemma2ForCausalLM(config)


def batches(world: World, known: Any, steps: int, batch: int) -> list[Tensor]:
    """The tokens of every step, int64 [batch, T] each, ``PAD`` on the right."""
    rng = world.rng("documents")
    made: list[Tensor] = []
    for step in range(steps):
        texts = list(documents.documents(world, rng, KINDS[step % len(KINDS)], batch))
        rows = [[*row, EOS] for row in known(texts)["input_ids"]]
        tokens = np.full((batch, max(map(len, rows))), PAD)
        for place, row in enumerate(rows):
            tokens[place, : len(row)] = row
        made.append(torch.from_numpy(tokens))
    return made


def rate(step: int, steps: int) -> float:
    """Share of the learning rate at a step: a rise over the first tenth at most, then half a cosine."""
    rise = min(1.0, (step + 1) / min(50, max(1, steps // 10)))
    return rise * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def train(
    model: Any, tokens: Sequence[Tensor], learning_rate: float, said: Callable[[str], None] = print
) -> None:
    """Next-token prediction on all tokens, one step for each tensor of ``tokens``."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    model.train()
    begun = last = time.monotonic()
    for step, given in enumerate(tokens):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * rate(step, len(tokens))
        target = given[:, 1:].masked_fill(given[:, 1:] == PAD, IGNORED)
        logits = model(input_ids=given[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=IGNORED)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        now = time.monotonic()
        if now - last >= 5 or step + 1 == len(tokens):
            last, done = now, step + 1
            pace = done / (now - begun)
            said(
                f"{done}/{len(tokens)} steps, {pace:.1f}/s, loss {loss.item():.3f}, {(len(tokens) - done) / pace:.0f} s left"
            )
