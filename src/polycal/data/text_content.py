"""Whether a text has visible characters and is valid Unicode."""

import unicodedata

FILLERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Characters that are invisible, although Unicode classifies them as letters or symbols."""


def is_blank(text: str) -> bool:
    """Whether a text has no visible character: it is empty or only white space, zero-width or control characters."""
    return all(
        character.isspace() or character in FILLERS or unicodedata.category(character) in ("Cc", "Cf")
        for character in text
    )


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8. Half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_unicode(text: str) -> str:
    """The text with a question mark in place of each single half of a surrogate pair, as in some scraped data."""
    return text.encode("utf-8", "replace").decode()
