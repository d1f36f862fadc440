"""Identify the language of a text with CLD2 (the package pycld2).

CLD2 contains tables for 165 languages, including those of both benchmarks. It loads in negligible time and
reads about fifteen million characters per second.
"""

import importlib.metadata
from collections.abc import Sequence

from polycal.data import language_tags

MAX_CHARACTERS = 2000
"""Number of characters of each text that are read."""


def identifier() -> str:
    """Name and version of the library that identifies languages."""
    return f"pycld2 {importlib.metadata.version('pycld2')}"


def identify(texts: Sequence[str]) -> tuple[str | None, float]:
    """The main language of ``texts`` taken together, and the share of the text that it covers, in [0, 1].

    Only the first ``MAX_CHARACTERS`` of each text are read. The result is (None, 0) if CLD2 reports it as
    unreliable, as for short texts, code and numbers.
    """
    import pycld2

    joined = "\n".join(text[:MAX_CHARACTERS] for text in texts)
    try:
        try:
            is_reliable, _, languages = pycld2.detect(joined.encode("utf-8", "ignore"))
        except pycld2.error:
            # CLD2 refuses control characters and similar ones. To remove them from every text beforehand
            # would take longer than the identification.
            clean = "".join(c for c in joined if c.isprintable() or c.isspace())
            is_reliable, _, languages = pycld2.detect(clean.encode("utf-8", "ignore"))
    except pycld2.error:
        return None, 0.0
    _, code, percent, _ = languages[0]
    if not is_reliable or code == "un":
        return None, 0.0
    return language_tags.language_code(code), percent / 100
