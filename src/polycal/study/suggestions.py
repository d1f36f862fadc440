"""Suggests the name that was probably meant, for messages about an unknown name."""

import difflib
from collections.abc import Iterable

MAX_LISTED = 40
"""A message lists at most this many known names."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown ``name``: the closest known name, or else all known names."""
    options = sorted(known)
    if close := difflib.get_close_matches(name, options, n=1):
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(options[:MAX_LISTED])}" if options else ", which is empty"


def with_full_stop(text: str) -> str:
    """``text`` with a full stop at its end, unless it ends with the question mark of a suggestion."""
    return text if text.endswith("?") else f"{text}."


def require_known(key: str, name: str, known: Iterable[str], where: str) -> None:
    """Raise ValueError if ``name``, the value of ``key`` in the configuration, is not one of ``known``."""
    options = list(known)
    if name not in options:
        raise ValueError(f"{key}: {name!r} is not in {where}{nearest(name, options)}")
