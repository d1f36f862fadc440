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


def test_targets_are_the_tokens_of_the_assistant_and_the_end_of_its_turns():
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


def test_a_conversation_is_truncated_to_max_length_and_skipped_if_no_target_remains():
    tokenizer = models.tokenizer()
    whole, _ = tokenized.tokenize(tokenizer, [CONVERSATION], "tulu", 999)
    first = int(whole.targets.argmax())
    rows, counts = tokenized.tokenize(tokenizer, [CONVERSATION], "tulu", first + 1)
    assert (len(rows), dict(counts)) == (1, {"cut to max_length": 1})
    assert rows.tokens.tolist() == whole.tokens[: first + 1].tolist()
    rows, counts = tokenized.tokenize(tokenizer, [CONVERSATION], "tulu", first)
    assert (len(rows), dict(counts)) == (0, {"cut to max_length": 1, "no target within max_length": 1})


@pytest.mark.parametrize("content", ["", None, " \n", "\u200b"])
def test_an_empty_answer_before_the_last_one_is_not_a_target_and_is_counted(content):
    conversation = [
        {"role": "user", "content": "Hi?"},
        {"role": "assistant", "content": content},
        {"role": "user", "content": "Well?"},
        {"role": "assistant", "content": "lake"},
    ]
    tokenizer = models.tokenizer()
    rows, counts = tokenized.tokenize(tokenizer, [conversation, CONVERSATION], "tulu", 999)
    assert dict(counts) == {"empty answer": 1}
    tokens, targets = rows.row(0)
    assert tokenizer.decode(tokens[targets]) == "lake</s>"
    assert tokenizer.decode(tokens) == (
        f"<s><|user|>\nHi?\n<|assistant|>\n{(content or '').strip()}</s>\n<|user|>\nWell?\n<|assistant|>\nlake</s>"
    )


def test_a_conversation_without_an_answer_or_with_a_turn_that_is_null_is_skipped():
    null_question, answer = {"role": "user", "content": None}, {"role": "assistant", "content": "lake"}
    null_answer = {"role": "assistant", "content": None}
    _, counts = tokenized.tokenize(
        models.tokenizer(), [[null_question, answer], [null_question, null_answer], [null_answer]], "tulu", 99
    )
    assert dict(counts) == {"message without content": 1, "no assistant turn": 2}
