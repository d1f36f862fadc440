"""Values of JSON text, one at a time, refused where Python's parser would silently drop something."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from polycal.artifacts.records import RecordError

PIECE_CHARACTERS = 1 << 20
"""Characters of a JSON array that are read at a time."""


class RefusedValueError(ValueError):
    """JSON that is valid but not read: a key that is there twice with different values, too deep or too long."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; Python's parser would take the last value of a repeated key."""
    found = dict(pairs)
    if len(found) < len(pairs):
        for key, value in pairs:
            if value != found[key]:
                raise RefusedValueError(f"the key {key!r} is there twice with different values")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def parse(text: str) -> Any:
    """The value of a JSON text. Raises JSONDecodeError, and RefusedValueError (both are ValueError)."""
    with _refusals():
        return _DECODER.decode(text)


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn the limits of Python's parser into RefusedValueError."""
    try:
        yield
    except RecursionError as error:
        raise RefusedValueError("lists or objects are nested too deeply") from error
    except (json.JSONDecodeError, RefusedValueError):
        raise
    except ValueError as error:
        raise RefusedValueError("a whole number has too many digits") from error


def lines(path: Path, file: TextIO) -> Iterator[Any]:
    """The values of a file with one on each line. Raises RecordError that names the line."""
    for number, line in enumerate(file, start=1):
        if line.strip():
            try:
                value = parse(line)
            except json.JSONDecodeError as error:
                raise RecordError(
                    f"{path}: line {number}: not valid JSON: {error}; a file holds one array of objects, or"
                    " one object per line."
                ) from error
            except RefusedValueError as error:
                raise RecordError(f"{path}: line {number}: {error}.") from error
            yield value


def array(path: Path, file: TextIO) -> Iterator[Any]:
    """The elements of the one JSON array of a file, with one piece of text in memory.

    ``file`` is at the array's opening bracket. Raises RecordError, naming element or line, for broken JSON
    and for anything after the array.
    """
    text = _Pieces(file)
    text.skip_space()
    text.advance(1)
    number = 0
    while (mark := text.skip_space()) != "]":
        if number:
            if mark != ",":
                raise _broken(path, number, "',' or ']' is expected", text)
            text.advance(1)
            text.skip_space()
        try:
            value = text.value()
        except json.JSONDecodeError as error:
            raise _broken(path, number, error.msg, text) from error
        except RefusedValueError as error:
            raise RecordError(f"{path}: element {number}: {error}.") from error
        yield value
        number += 1
    text.advance(1)
    if text.skip_space():
        raise RecordError(
            f"{path}: line {text.line()}: there is text after the end of the array of {number} elements; a"
            " file holds one array of objects, or one object per line."
        )


def _broken(path: Path, number: int, problem: str, text: "_Pieces") -> RecordError:
    return RecordError(
        f"{path}: element {number}: truncated or not valid JSON: {problem} (line {text.line()})."
    )


class _Pieces:
    """The text of a file from a position on, of which pieces are read as they are needed."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._position = 0
        self._lines_before = 0

    def line(self) -> int:
        """The line of the position, from 1."""
        return 1 + self._lines_before + self._text.count("\n", 0, self._position)

    def advance(self, count: int) -> None:
        self._position += count

    def skip_space(self) -> str:
        """Move to the next character that is no space and return it; empty at the end of the file."""
        while True:
            while self._position < len(self._text):
                if not self._text[self._position].isspace():
                    return self._text[self._position]
                self._position += 1
            if not self._read():
                return ""

    def value(self) -> Any:
        """The JSON value at the position, and move behind it. Raises JSONDecodeError and RefusedValueError."""
        while True:
            try:
                with _refusals():
                    value, end = _DECODER.raw_decode(self._text, self._position)
            except json.JSONDecodeError:
                # Either the value continues in the next piece, or the file is broken.
                if not self._read():
                    raise
                continue
            # A number may continue in the next piece.
            if end == len(self._text) and self._read():
                continue
            self._position = end
            return value

    def _read(self) -> bool:
        piece = self._file.read(PIECE_CHARACTERS)
        self._lines_before += self._text.count("\n", 0, self._position)
        self._text, self._position = self._text[self._position :] + piece, 0
        return bool(piece)
