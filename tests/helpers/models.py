"""Tiny random models of the paper's three architectures with a byte-level tokenizer, in local folders."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
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


SPECIAL = ["<pad>", "<s>", "</s>"]


def tokenizer(
    bos: bool = True, learned: Sequence[str] = (), vocabulary: int = 259
) -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are bytes, so that it covers every script.

    With ``bos``, it puts a beginning-of-sequence token before each text. Frequent pairs in the texts ``learned`` are
    merged until the vocabulary has ``vocabulary`` tokens.
    """
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(learned, trainer)
    return _finished(made, bos)


def fallback(bos: bool = True) -> PreTrainedTokenizerFast:
    """A tokenizer like those of Llama 2 and Gemma, with byte fallback.

    Characters in the vocabulary are tokens. Of another character, each byte is a token.
    """
    letters = ["▁", *"abcdefghijklmnopqrstuvwxyzABCDEFGH:?.", "▁a", "er"]
    tokens = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    made = Tokenizer(
        models.BPE(vocab=vocabulary, merges=[("▁", "a"), ("e", "r")], byte_fallback=True, fuse_unk=True)
    )
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence(parts)
    return _finished(made, bos)


def _finished(made: Tokenizer, bos: bool) -> PreTrainedTokenizerFast:
    if bos:
        made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


def save(architecture: str, folder: Path, window: int = 512, vocabulary: int = 259) -> Path:
    """Write one tiny model and its tokenizer to ``folder``, and return the folder.

    The same arguments give the same weights. ``window`` is the largest number of positions.
    """
    torch.manual_seed(ARCHITECTURES.index(architecture))
    shape = {
        "vocab_size": vocabulary,
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
