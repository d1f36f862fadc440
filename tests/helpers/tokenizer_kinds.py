"""Tokenizers of many kinds. They differ in special tokens, truncation, padding, splitting and offsets.

Tokenizers of one family have the same vocabulary, so that prompts, candidates and targets must be the same tokens.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizer, PreTrainedTokenizerFast

BOS, EOS = ("<s>", 0), ("</s>", 1)
LEARNED = ["def f x:\n return y\nThe river  lake\n Answer: A B C D\n"] * 20
Processor = Any


def byte_level(processor: Processor = None) -> Tokenizer:
    """Byte-level byte-pair encoding, like that of GPT-2 and Llama 3."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(LEARNED, trainer)
    return _with(made, processor)


def prefix_space(processor: Processor = None) -> Tokenizer:
    """Like ``byte_level``, with a space before each text, as in models that descend from RoBERTa."""
    made = byte_level(processor)
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return made


def metaspace(scheme: str) -> Callable[[Processor], Tokenizer]:
    """Words that begin with ▁, as in T5. ``scheme`` says whether ▁ precedes only the first part of a text or each."""

    def build(processor: Processor = None) -> Tokenizer:
        made = _letters()
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
        return _with(made, processor)

    return build


def prepended(processor: Processor = None) -> Tokenizer:
    """The normalizer puts ▁ before each part of a text, and unknown characters become bytes, as in Llama 2."""
    made = _letters()
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return _with(made, processor)


def _letters() -> Tokenizer:
    tokens = ["<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdefghijklmnopqrstuvwxyz"]
    tokens += [*"ABCDEFGHTW", "▁a", "▁t", "er"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    merges = [("▁", "a"), ("▁", "t"), ("e", "r")]
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True))
    made.add_special_tokens(["<s>", "</s>"])
    return made


FAMILIES: dict[str, Callable[[Processor], Tokenizer]] = {
    "byte level": byte_level,
    "prefix space": prefix_space,
    "metaspace always": metaspace("always"),
    "metaspace first": metaspace("first"),
    "prepended": prepended,
}


def _with(made: Tokenizer, processor: Processor) -> Tokenizer:
    if processor is not None:
        made.post_processor = processor
    return made


def template(single: str) -> Processor:
    """A post-processor that adds special tokens around a text, which is $A."""
    return processors.TemplateProcessing(single=single, special_tokens=[BOS, EOS])


def trimming(single: str = "$A") -> Processor:
    """The same, after offsets are trimmed to exclude white space, which is the default of ByteLevel."""
    return processors.Sequence([processors.ByteLevel(trim_offsets=True), template(single)])


def roberta() -> Processor:
    """<s> text </s>, with trimmed offsets, as in RoBERTa."""
    return processors.RobertaProcessing(EOS, BOS)


WITH_BOS: dict[str, Callable[[], Processor]] = {
    "end of sequence": lambda: template("<s> $A </s>"),
    "trimmed offsets": lambda: trimming("<s> $A"),
    "trimmed offsets and end of sequence": lambda: trimming("<s> $A </s>"),
    "roberta": roberta,
}
"""Post-processors that give the same prompt tokens as <s> text, but add </s> or report other offsets."""
WITHOUT_BOS: dict[str, Callable[[], Processor]] = {
    "end of sequence": lambda: template("$A </s>"),
    "trimmed offsets": lambda: processors.ByteLevel(trim_offsets=True),
    "trimmed offsets and end of sequence": lambda: trimming("$A </s>"),
}
"""The same without a beginning-of-sequence token."""


def fast(made: Tokenizer, **options: Any) -> PreTrainedTokenizerFast:
    """The tokenizer as a tokenizer of transformers."""
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", **options)


def saved(made: Tokenizer, folder: Path, **options: Any) -> PreTrainedTokenizerFast:
    """The tokenizer after it was saved to ``folder`` with truncation and padding enabled, and loaded again."""
    made.enable_truncation(4)
    made.enable_padding(direction="left", length=64, pad_id=1, pad_token="</s>")
    fast(made, **options).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


class SlowBytes(PreTrainedTokenizer):
    """A tokenizer without tokenizer.json: each byte of a text is a token."""

    def __init__(self, adds_eos: bool = False, **options: Any) -> None:
        self.adds_eos = adds_eos
        super().__init__(bos_token="<s>", eos_token="</s>", **options)

    @property
    def vocab_size(self) -> int:
        return 256

    def get_vocab(self) -> dict[str, int]:
        return {f"{byte:02X}": byte for byte in range(256)} | self.added_tokens_encoder

    def _tokenize(self, text: str, **_: Any) -> list[str]:
        return [f"{byte:02X}" for byte in text.encode()]

    def _convert_token_to_id(self, token: str) -> int:
        return int(token, 16)

    def _convert_id_to_token(self, index: int) -> str:
        return f"{index:02X}"

    def build_inputs_with_special_tokens(self, ids: list[int], more: list[int] | None = None) -> list[int]:
        return [self.bos_token_id, *ids, *(more or []), *([self.eos_token_id] if self.adds_eos else [])]
