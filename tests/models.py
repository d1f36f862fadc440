"""Tiny random models of the study's three architectures, with a byte-level tokenizer, as local folders."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
)

ARCHITECTURES = ("mistral", "llama", "gemma2")


def tokenizer(bos: bool = True) -> PreTrainedTokenizerFast:
    """Bytes as tokens, so that every script has tokens; ``bos`` puts a beginning-of-sequence before."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<pad>", "<s>", "</s>", *alphabet])}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    if bos:
        made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


def save(architecture: str, folder: Path, window: int = 512) -> Path:
    """Write one tiny model to ``folder``; weights depend on the architecture only."""
    torch.manual_seed(ARCHITECTURES.index(architecture))
    shape = {
        "vocab_size": 259,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": window,
        "initializer_range": 0.3,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    model = {
        "mistral": lambda: MistralForCausalLM(MistralConfig(**shape, sliding_window=16)),
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**shape)),
        "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**shape, head_dim=8, sliding_window=16)),
    }[architecture]()
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder
