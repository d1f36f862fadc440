"""Whether a text has visible characters and is valid Unicode."""

import pytest

from polycal.data import text_content


@pytest.mark.parametrize(
    "text", ["", " \n\t", "\u200b", "\ufeff", "\u00a0\u2060", "\u200f", "\x00", "\u3164"]
)
def test_texts_without_visible_characters_are_blank(text: str) -> None:
    assert text_content.is_blank(text)


@pytest.mark.parametrize("text", ["a", "0", "。", " \u200ba", "\u0301", "क्‍ष", "\U0001f30d"])
def test_texts_with_a_visible_character_are_not_blank(text: str) -> None:
    assert not text_content.is_blank(text)


def test_half_a_surrogate_pair_is_not_unicode() -> None:
    assert text_content.is_unicode("\U0001f30d")
    assert not text_content.is_unicode("a\ud83c")
    assert text_content.as_unicode("a\ud83c \U0001f30d") == "a? \U0001f30d"
