"""Conversations as tokens, and which tokens are targets."""

import pytest
from helpers import models

from polycal.data import tokenized
from polycal.data.chat_templates import ChatError

CONVERSATION = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "yo ọ̀"},
    {"role": "user", "content": "ok"},
    {"role": "assistant", "content": "no"},
]


def test_targets_are_the_assistants_tokens_and_its_end():
    tokenizer = models.tokenizer()
    rows, counts = tokenized.tokenize(tokenizer, [CONVERSATION, [], CONVERSATION[:2]], "tulu", 999)
    assert dict(counts) == {"empty": 1, "no assistant turn": 1}
    tokens, targets = rows.row(0)
    assert tokenizer.decode(tokens[targets]) == "yo ọ̀</s>no</s>"
    assert tokenizer.decode(tokens) == (
        "<s><|system|>\ns\n<|user|>\nhi\n<|assistant|>\nyo ọ̀</s>\n<|user|>\nok\n<|assistant|>\nno</s>"
    )
    with pytest.raises(ChatError, match="'tuulu' does not exist; known: tulu"):
        tokenized.tokenize(tokenizer, [CONVERSATION], "tuulu", 9)


def test_a_conversation_is_cut_at_max_length_and_skipped_if_no_target_remains():
    tokenizer = models.tokenizer()
    whole, _ = tokenized.tokenize(tokenizer, [CONVERSATION], "tulu", 999)
    first = int(whole.targets.argmax())
    rows, counts = tokenized.tokenize(tokenizer, [CONVERSATION], "tulu", first + 1)
    assert (len(rows), dict(counts)) == (1, {"cut to max_length": 1})
    assert rows.tokens.tolist() == whole.tokens[: first + 1].tolist()
    rows, counts = tokenized.tokenize(tokenizer, [CONVERSATION], "tulu", first)
    assert (len(rows), dict(counts)) == (0, {"cut to max_length": 1, "no target within max_length": 1})
