"""Open text files in UTF-8 or UTF-16, and refuse other encodings with a clear message."""

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from polycal.artifacts.records import RecordError

ACCEPTED = "UTF-8, with or without a byte order mark, and UTF-16 with one, are read"
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "",
    codecs.BOM_UTF32_BE: "",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order mark → Python's name of the encoding; empty if the encoding is refused."""
FIRST_BYTES = 4096
"""Number of bytes at the beginning of a file that are searched for zero bytes."""
PIECE_BYTES = 1 << 20
"""Number of bytes that are decoded at a time."""


def encoding(path: Path) -> str:
    """Python's name of the encoding of a text file, by its byte order mark. Without a mark it is UTF-8.

    Raises RecordError for UTF-32, and for a file without a mark but with zero bytes, which is UTF-16 or not
    text.
    """
    with path.open("rb") as file:
        start = file.read(FIRST_BYTES)
    for mark, name in MARKS.items():
        if start.startswith(mark):
            if not name:
                raise RecordError(f"{path}: is UTF-32 text; {ACCEPTED}.")
            return name
    if (position := start.find(b"\0")) >= 0:
        raise RecordError(
            f"{path}: byte {position} is zero, so this is not text, or UTF-16 without a mark; {ACCEPTED}."
        )
    return "utf-8"


@contextmanager
def opened(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    """The open text file. Raises RecordError, with line and byte, if a byte cannot be decoded."""
    name = encoding(path)
    with path.open(encoding=name, newline=newline) as file:
        try:
            yield file
        except UnicodeError as error:
            line, position = _first_wrong_byte(path, name)
            title = "UTF-16" if name == "utf-16" else "UTF-8"
            raise RecordError(
                f"{path}: line {line}, byte {position} is not {title} text; {ACCEPTED}, other encodings must be"
                " converted."
            ) from error


def _first_wrong_byte(path: Path, name: str) -> tuple[int, int]:
    """The line (from 1) and the byte (from 0) of the file at which decoding fails."""
    with path.open("rb") as file:
        if name == "utf-16":
            name = "utf-16-le" if file.read(2) == codecs.BOM_UTF16_LE else "utf-16-be"
            file.seek(0)
        decoder = codecs.getincrementaldecoder(name)()
        line, passed = 1, 0
        while True:
            piece = file.read(PIECE_BYTES)
            pending = len(decoder.getstate()[0])
            try:
                line += decoder.decode(piece, final=not piece).count("\n")
            except UnicodeDecodeError as error:
                before = error.object[: error.start].decode(name)
                return line + before.count("\n"), passed - pending + error.start
            if not piece:
                return line, passed
            passed += len(piece)
