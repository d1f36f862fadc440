"""What counts as text: characters that a reader can see, in valid Unicode."""

import unicodedata

FILLERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Characters that are drawn as nothing, although Unicode counts them as letters or symbols."""


def is_blank(text: str) -> bool:
    """Whether nothing of a text can be seen: only white space, zero-width and control characters, or nothing."""
    return all(
        character.isspace() or character in FILLERS or unicodedata.category(character) in ("Cc", "Cf")
        for character in text
    )


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8, which half a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_unicode(text: str) -> str:
    """The text with a question mark for each half of a surrogate pair, which some scraped sets hold."""
    return text.encode("utf-8", "replace").decode()
