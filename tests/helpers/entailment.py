"""A constructed model for natural language inference whose decisions are known."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

LABELS = {0: "neutral", 1: "ENTAILMENT", 2: "contradiction"}
WORDS = ("[PAD]", "other", "yes", "no")
"""The words of the tokenizer. Any other word is ``other``."""


def save(
    folder: Path, labels: Mapping[int, str] = LABELS, entailing: Sequence[str] = ("yes",), window: int = 16
) -> Path:
    """Write a classifier to ``folder`` that finds label 1 if a pair begins with one of the words ``entailing``.

    So it says that *yes, a* entails *b*, but not that *b* entails *yes, a*. It has no layers: its first token is one
    component of the embedding, which label 1 reads. ``window`` is the largest number of tokens of a pair.
    """
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=len(WORDS), num_hidden_layers=0, num_attention_heads=1, intermediate_size=4,
        max_position_embeddings=window, pad_token_id=0, id2label=dict(labels),
        label2id={name: n for n, name in labels.items()},
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        embeddings = model.bert.embeddings
        embeddings.LayerNorm.weight.fill_(1)
        embeddings.word_embeddings.weight.copy_(torch.eye(len(WORDS)))
        model.bert.pooler.dense.weight.copy_(torch.eye(len(WORDS)))
        for word in entailing:
            model.classifier.weight[1, WORDS.index(word)] = 1
    model.save_pretrained(folder)
    made = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="other"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="$A", pair="$A:0 $B:1", special_tokens=[])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="other")
    tokenizer.save_pretrained(folder)
    return folder
