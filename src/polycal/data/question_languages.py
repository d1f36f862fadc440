"""The rows of one language in a user's file of questions, whatever spelling its tags have."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from polycal.artifacts.records import RecordError
from polycal.data import language_tags
from polycal.data.readers import Row

NumberedRows = Iterable[tuple[str, Row]]
"""Rows, each with its location for messages."""


def spelling(tag: Any) -> str:
    """One spelling for all spellings of a tag (``FR``, ``fra`` and ``fr`` are ``fr``); lower case if it is none."""
    text = "" if tag is None else str(tag).strip()
    return language_tags.standard_tag(text) or text.casefold()


def of_language(rows: NumberedRows, language: str, name: str) -> NumberedRows:
    """The rows whose column ``language`` is ``language``; ``name`` is the file's, for messages.

    Tags are compared in their standard spelling. If none is equal, rows of the same language in one other
    script or region are taken. Raises RecordError, with what the file holds, if there are none or several, and
    for a row without a language, which no language would ever take.
    """
    rows = list(rows)
    tags = Counter(spelling(row["language"]) for _, row in rows)
    wanted = spelling(language)
    if wanted not in tags:
        code = language_tags.language_code(wanted)
        variants = [tag for tag in tags if code and language_tags.language_code(tag) == code]
        if len(variants) != 1:
            listed = ", ".join(f"{tag!r} ({count} rows)" for tag, count in sorted(tags.items())) or "no rows"
            problem = "no row is in that language" if not variants else "several variants of it are there"
            raise RecordError(f"{name}: language {language!r}: {problem}; the file holds {listed}.")
        wanted = variants[0]
    if "" in tags:
        where = next(where for where, row in rows if not spelling(row["language"]))
        raise RecordError(f"{where}: language is empty; each row of a file with several languages needs one.")
    return [(where, row) for where, row in rows if spelling(row["language"]) == wanted]


def checked(rows: NumberedRows, language: str) -> NumberedRows:
    """The rows of a file of one language. Raises RecordError for a row whose tag is of another language."""
    code = language_tags.language_code(language)
    for where, row in rows:
        tag = row.get("language")
        other = language_tags.language_code(tag) if isinstance(tag, str) else None
        if code is not None and other is not None and other != code:
            raise RecordError(
                f"{where}: language is {tag!r}, but this file is that of {language!r}; correct the tag, or give"
                " one file with all languages."
            )
        yield where, row
