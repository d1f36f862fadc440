"""Select the rows of one language in a user's file of questions, in any spelling of the language's tag."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from polycal.artifacts.records import RecordError
from polycal.data import language_tags
from polycal.data.readers import Row

NumberedRows = Iterable[tuple[str, Row]]
"""Rows, each with its file and row number for messages."""


def spelling(tag: Any) -> str:
    """The standard spelling of a tag: ``FR``, ``fra`` and ``fr`` give ``fr``.

    Unknown tags become lower case.
    """
    text = "" if tag is None else str(tag).strip()
    return language_tags.standard_tag(text) or text.casefold()


def of_language(rows: NumberedRows, language: str, name: str) -> NumberedRows:
    """The rows whose column ``language`` is ``language``. ``name`` is the name of the file, for messages.

    Tags are compared in their standard spelling. If no tag is equal, but the file contains the language in
    exactly one other script or region, those rows are used. Raises RecordError if there is none or more than
    one, and for a row without a language, because no language would select it.
    """
    rows = list(rows)
    tags = Counter(spelling(row["language"]) for _, row in rows)
    selected = spelling(language)
    if selected not in tags:
        code = language_tags.language_code(selected)
        variants = [tag for tag in tags if code and language_tags.language_code(tag) == code]
        if len(variants) != 1:
            listed = ", ".join(f"{tag!r} ({count} rows)" for tag, count in sorted(tags.items())) or "no rows"
            problem = "no row is in this language" if not variants else "several variants match"
            raise RecordError(
                f"{name}: language {language!r}: {problem}; choose a language of the file, which contains {listed}."
            )
        selected = variants[0]
    if "" in tags:
        where = next(where for where, row in rows if not spelling(row["language"]))
        raise RecordError(f"{where}: language is empty; each row of a file with several languages needs one.")
    return [(where, row) for where, row in rows if spelling(row["language"]) == selected]


def checked(rows: NumberedRows, language: str) -> NumberedRows:
    """The rows of a file in one language. Raises RecordError for a row with the tag of another language."""
    code = language_tags.language_code(language)
    for where, row in rows:
        tag = row.get("language")
        other = language_tags.language_code(tag) if isinstance(tag, str) else None
        if code is not None and other is not None and other != code:
            raise RecordError(
                f"{where}: language is {tag!r}, but the file is for {language!r}; correct the tag, or give one"
                " file with all languages."
            )
        yield where, row
