"""The name that a reader probably meant, for messages about an unknown one."""

import difflib
from collections.abc import Iterable

MAX_LISTED = 40
"""Longest list of known names that a message shows."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown ``name``: the closest known name, or else the known names."""
    options = sorted(known)
    if close := difflib.get_close_matches(name, options, n=1):
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(options[:MAX_LISTED])}" if options else ", which is empty"


def require_known(key: str, name: str, known: Iterable[str], where: str) -> None:
    """Raise ValueError if ``name``, given at ``key`` of the configuration, is not a ``known`` name."""
    options = list(known)
    if name not in options:
        raise ValueError(f"{key}: {name!r} is not in {where}{nearest(name, options)}")
