"""Pre-training of the miniature's base models: real architectures in a tiny size, and their tokenizers."""

import math
from collections.abc import Sequence
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
from polycal.miniature.world import World, random_stream
from polycal.progress import ProgressLine
from polycal.vocabulary import IGNORE_INDEX

KINDS = ("question", "statements", "question", "instruction")
"""The kinds of documents. Each batch has one kind, in this order, again and again."""
CONTEXT = 512
"""Longest context, in tokens."""
WINDOW = 32
"""Sliding window of the attention, in tokens: longer than a question, shorter than a few-shot prompt."""
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.05,
}
SPECIAL_TOKENS = {
    "mistral": ("<unk>", "<s>", "</s>", "<pad>"),
    "llama": ("<|unknown|>", "<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>"),
    "gemma2": ("<unk>", "<bos>", "<eos>", "<pad>"),
}
"""Tokens for unknown, beginning, end and padding of each model family; their ids are 0 to 3."""
BOS, EOS, PAD = 1, 2, 3


def tokenizer(words: Sequence[str], architecture: str) -> PreTrainedTokenizerFast:
    """A unigram tokenizer with one token for each of ``words``; all other text becomes one token per byte.

    A space becomes ``▁`` and belongs to the following word, as in SentencePiece. Decoding returns any text
    unchanged, except one that contains the name of a byte's token, such as <0x41>.
    """
    special = SPECIAL_TOKENS[architecture]
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    # The segmentation with the highest sum of scores wins. A byte scores lower than a word, so that no word
    # is split.
    scored = [(token, 0.0) for token in special] + [(token, -20.0) for token in byte_tokens]
    scored += [(word.replace(" ", "▁"), -10.0) for word in words]
    fast = Tokenizer(models.Unigram(scored, unk_id=0, byte_fallback=True))
    fast.normalizer = normalizers.Replace(" ", "▁")
    fast.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), decoders.Replace("▁", " ")])
    fast.add_special_tokens(list(special))
    fast.post_processor = processors.TemplateProcessing(
        single=f"{special[BOS]} $A", special_tokens=[(special[BOS], BOS)]
    )
    unknown, bos, eos, pad = special
    return PreTrainedTokenizerFast(
        tokenizer_object=fast,
        unk_token=unknown,
        bos_token=bos,
        eos_token=eos,
        pad_token=pad,
        model_max_length=CONTEXT,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


def untrained(architecture: str, vocabulary: int, seed: int) -> Any:
    """An untrained model with its family's features (sliding window, rope scaling or soft-caps).

    ``seed`` determines the weights.
    """
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
    # Only eager attention applies the soft-cap.
    config._attn_implementation = "eager"
    return Gemma2ForCausalLM(config)


def batches(world: World, tokenizer: Any, steps: int, batch_size: int, seed: int) -> list[Tensor]:
    """The tokens of each step, int64 [batch_size, T], padded with ``PAD`` on the right.

    ``seed`` determines the documents.
    """
    rng = random_stream(seed, "documents")
    padded: list[Tensor] = []
    for step in range(steps):
        texts = list(documents.documents(world, rng, KINDS[step % len(KINDS)], batch_size))
        rows = [[*row, EOS] for row in tokenizer(texts)["input_ids"]]
        tokens = np.full((batch_size, max(map(len, rows))), PAD)
        for index, row in enumerate(rows):
            tokens[index, : len(row)] = row
        padded.append(torch.from_numpy(tokens))
    return padded


def learning_rate_factor(step: int, steps: int) -> float:
    """Factor of the learning rate: linear warm-up over a tenth of the steps (at most 50), times a cosine decay."""
    warmup = min(1.0, (step + 1) / min(50, max(1, steps // 10)))
    return warmup * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def train(model: Any, batches: Sequence[Tensor], learning_rate: float) -> None:
    """Train by next-token prediction on all tokens: one AdamW step per batch, int64 [B, T]."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    model.train()
    progress = ProgressLine("pre-training", len(batches), "steps")
    for step, tokens in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * learning_rate_factor(step, len(batches))
        target = tokens[:, 1:].masked_fill(tokens[:, 1:] == PAD, IGNORE_INDEX)
        logits = model(input_ids=tokens[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), target.flatten(), ignore_index=IGNORE_INDEX
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        progress(1, f", loss {loss.item():.3f}")
