"""The options that a tokenizer was saved with change neither prompts, nor candidates, nor targets."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import models as tiny
from helpers import tokenizer_kinds as kinds
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from polycal.data import token_ids, tokenized
from polycal.data.chat_templates import ChatError
from polycal.data.token_ids import Encoder, TokenizerError

TEXTS = ["Which lake?\n    A", "a", "The river  ", " \n", "Wéird ọ̀ 空", "</s> inside </s>", ""]
CODE = "if x:\n        y = 1\n    return  y"
CONVERSATIONS = [
    [{"role": "user", "content": "Write."}, {"role": "assistant", "content": CODE}],
    [
        {"role": "user", "content": "  The\n\n lake "},
        {"role": "assistant", "content": "The </s> end\n\n\n  of ọ̀ 空 "},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "\n\n\t a"},
    ],
]
SAVED_OPTIONS = [
    pytest.param(start, processor, id=f"{start or 'no bos'}, {name}")
    for start, processors in (("<s> ", kinds.WITH_BOS), ("", kinds.WITHOUT_BOS))
    for name, processor in processors.items()
]
every_family = pytest.mark.parametrize("family", kinds.FAMILIES)
every_option = pytest.mark.parametrize(("start", "processor"), SAVED_OPTIONS)


def plain(family: str, start: str) -> Any:
    """The tokenizer of a family that adds only the token ``start`` at the beginning, if given."""
    return kinds.fast(kinds.FAMILIES[family](kinds.template("<s> $A") if start else None))


def rows_of(
    tokenizer: Any, conversations: Sequence[Any] = CONVERSATIONS
) -> list[tuple[list[int], list[bool]]]:
    rows, _ = tokenized.tokenize(tokenizer, conversations, "tulu", 999)
    return [tuple(array.tolist() for array in rows.row(number)) for number in range(len(rows))]


@every_family
@every_option
def test_texts_and_targets_are_those_without_the_saved_options(
    family: str, start: str, processor: Callable[[], Any]
) -> None:
    expected, tokenizer = plain(family, start), kinds.fast(kinds.FAMILIES[family](processor()))
    assert Encoder(tokenizer)(TEXTS) == expected(TEXTS)["input_ids"]
    assert rows_of(tokenizer) == rows_of(expected)


@every_family
@pytest.mark.parametrize("start", ["<s> ", ""])
def test_saved_truncation_padding_and_splitting_change_nothing(
    family: str, start: str, tmp_path: Path
) -> None:
    expected = plain(family, start)
    made = kinds.FAMILIES[family](kinds.template("<s> $A") if start else None)
    tokenizer = kinds.saved(made, tmp_path, split_special_tokens=True)
    assert tokenizer.backend_tokenizer.truncation["max_length"] == 4
    assert Encoder(tokenizer)(TEXTS) == expected(TEXTS)["input_ids"]
    assert rows_of(tokenizer) == rows_of(expected)


@pytest.mark.parametrize("bos", [True, False])
def test_a_tokenizer_without_saved_options_gives_its_own_tokens(bos: bool) -> None:
    for tokenizer in (tiny.tokenizer(bos), tiny.tokenizer(bos, TEXTS, 300), tiny.fallback(bos)):
        encode = Encoder(tokenizer)
        assert encode(TEXTS) == tokenizer(TEXTS)["input_ids"]
        assert (encode.before, encode.after) == ([1] if bos else [], [])
        ids, offsets = token_ids.encode_with_offsets(tokenizer, TEXTS)
        encoded = tokenizer(TEXTS, add_special_tokens=False, return_offsets_mapping=True)
        assert (ids, offsets) == (encoded["input_ids"], encoded["offset_mapping"])


def test_the_post_processor_is_restored_after_offsets_are_read() -> None:
    tokenizer = kinds.fast(kinds.byte_level(kinds.trimming("<s> $A </s>")))
    before = tokenizer.backend_tokenizer.to_str()
    token_ids.encode_with_offsets(tokenizer, TEXTS)
    assert tokenizer.backend_tokenizer.to_str() == before
    with pytest.raises(TypeError):
        token_ids.encode_with_offsets(tokenizer, 5)  # type: ignore[arg-type]
    assert tokenizer.backend_tokenizer.to_str() == before


@pytest.mark.parametrize("trimmed", [False, True])
def test_every_token_of_an_answer_is_a_target(trimmed: bool) -> None:
    tokenizer = kinds.fast(kinds.byte_level(kinds.trimming() if trimmed else None))
    ((ids, targets),) = rows_of(tokenizer, CONVERSATIONS[:1])
    first = targets.index(True)
    assert all(targets[first:])
    assert tokenizer.decode(np.array(ids)[targets]) == f"{CODE}</s>"


@every_family
def test_the_targets_read_as_the_answers(family: str) -> None:
    """Also after white space of the user's turn, and around special tokens in the text."""
    tokenizer = plain(family, "<s> ")
    for (ids, targets), conversation in zip(rows_of(tokenizer), CONVERSATIONS, strict=True):
        answers = [m["content"].strip() for m in conversation if m["role"] == "assistant"]
        text = tokenizer.decode(np.array(ids)[targets]).replace("▁", " ")
        expected = "".join(f"{answer}</s>" for answer in answers)
        if family.startswith(("byte", "prefix")):
            assert "".join(text.split()) == "".join(expected.split())
        changes = np.flatnonzero(np.diff([False, *targets, False]))
        assert len(changes) == 2 * len(answers)
        assert [ids[end - 1] for end in changes[1::2]] == [tokenizer.eos_token_id] * len(answers)


def test_a_slow_tokenizer_gives_the_tokens_of_texts_and_is_refused_for_training() -> None:
    expected = [[256, *text.encode()] for text in TEXTS if "</s>" not in text]
    for adds_eos in (False, True):
        tokenizer = kinds.SlowBytes(adds_eos)
        assert tokenizer.bos_token_id == 256
        assert Encoder(tokenizer)([text for text in TEXTS if "</s>" not in text]) == expected
        with pytest.raises(ChatError, match=r"has no tokenizer\.json"):
            tokenized.tokenize(tokenizer, CONVERSATIONS, "tulu", 99)


def test_a_tokenizer_that_changes_a_text_with_special_tokens_is_refused() -> None:
    class Reversing(kinds.SlowBytes):
        def build_inputs_with_special_tokens(
            self, ids: list[int], more: list[int] | None = None
        ) -> list[int]:
            return [number + 1 for number in ids]

    with pytest.raises(
        TokenizerError, match=r"reads 'a' as \[98\] with special tokens and as \[97\] without"
    ):
        Encoder(Reversing())


def test_merges_are_not_dropped_at_random() -> None:
    made = kinds.byte_level()
    expected = Encoder(kinds.fast(kinds.byte_level()))(["The river lake Answer"] * 20)
    made.model.dropout = 0.9
    assert Encoder(kinds.fast(made))(["The river lake Answer"] * 20) == expected
    made = kinds.byte_level()
    made.model.dropout = 0.9
    rows, _ = token_ids.encode_with_offsets(kinds.fast(made), ["The river lake Answer"] * 20)
    assert rows == expected


def test_a_tokenizer_that_cannot_read_a_text_is_refused_in_one_sentence() -> None:
    words = Tokenizer(WordLevel({"a": 0, "</s>": 1}))
    with pytest.raises(
        TokenizerError, match=r"the tokenizer cannot read a text .*; use one that reads every text"
    ):
        Encoder(kinds.fast(words))(["tree"])
