"""Values of JSON text, one at a time.

JSON from which Python's parser would silently drop something is refused.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from polycal.artifacts.records import RecordError

PIECE_CHARACTERS = 1 << 20
"""Number of characters of a JSON array that are read at a time."""


class RefusedValueError(ValueError):
    """Valid JSON is refused: a key has two different values, nesting is too deep, or a number is too long."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object with these pairs. Python's parser would keep only the last value of a repeated key."""
    values = dict(pairs)
    if len(values) < len(pairs):
        for key, value in pairs:
            if value != values[key]:
                raise RefusedValueError(f"the key {key!r} occurs twice with different values")
    return values


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def parse(text: str) -> Any:
    """The value of a JSON text. Raises JSONDecodeError or RefusedValueError (both are ValueError)."""
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
    """The values of a file with one JSON value per line.

    Raises RecordError with the line if one is broken.
    """
    for number, line in enumerate(file, start=1):
        if line.strip():
            try:
                value = parse(line)
            except json.JSONDecodeError as error:
                raise RecordError(
                    f"{path}: line {number}: not valid JSON: {error}; a file must contain one array of objects, or"
                    " one object per line."
                ) from error
            except RefusedValueError as error:
                raise RecordError(f"{path}: line {number}: {error}.") from error
            yield value


def array(path: Path, file: TextIO) -> Iterator[Any]:
    """The elements of the JSON array in a file. Only a piece of the text is in memory at a time.

    ``file`` must be at the array's opening bracket, or at white space before it. Raises RecordError, with the
    element or line, for broken JSON and for text after the array.
    """
    text = _Pieces(file)
    text.skip_space()
    text.advance(1)
    number = 0
    while (character := text.skip_space()) != "]":
        if number:
            if character != ",":
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
            " file must contain one array of objects, or one object per line."
        )


def _broken(path: Path, number: int, problem: str, text: "_Pieces") -> RecordError:
    """The error for an element that is not valid JSON."""
    return RecordError(
        f"{path}: element {number}: truncated or not valid JSON: {problem} (line {text.line()})."
    )


class _Pieces:
    """The text of a file from a position on. Pieces of it are read when they are needed."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._position = 0
        self._lines_before = 0

    def line(self) -> int:
        """The line number of the position, from 1."""
        return 1 + self._lines_before + self._text.count("\n", 0, self._position)

    def advance(self, count: int) -> None:
        """Move by ``count`` characters."""
        self._position += count

    def skip_space(self) -> str:
        """Move to the next character that is not white space, and return it; empty at the end of the file."""
        while True:
            while self._position < len(self._text):
                if not self._text[self._position].isspace():
                    return self._text[self._position]
                self._position += 1
            if not self._read():
                return ""

    def value(self) -> Any:
        """Return the JSON value at the position, and move behind it.

        Raises JSONDecodeError or RefusedValueError.
        """
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
        """Append the next piece and drop the text before the position. False at the end of the file."""
        piece = self._file.read(PIECE_CHARACTERS)
        self._lines_before += self._text.count("\n", 0, self._position)
        self._text, self._position = self._text[self._position :] + piece, 0
        return bool(piece)
