import models
import pytest

from polycal import chat


def test_targets_are_the_assistants_tokens_and_its_end():
    tokenizer = models.tokenizer()
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yo ọ̀"},
        {"role": "user", "content": "ok"},
        {"role": "assistant", "content": "no"},
    ]
    example = chat.encode(tokenizer, messages, "tulu", 999)
    said = tokenizer.decode([x for x in example.labels if x != chat.IGNORED])
    assert said == "yo ọ̀</s>no</s>"
    assert tokenizer.decode(example.input_ids) == (
        "<s><|system|>\ns\n<|user|>\nhi\n<|assistant|>\nyo ọ̀</s>\n<|user|>\nok\n<|assistant|>\nno</s>"
    )
    with pytest.raises(chat.ChatError, match="'tuulu' is unknown; known: tulu"):
        chat.encode(tokenizer, messages, "tuulu", 9)
