"""Texts as token ids that do not depend on habits a tokenizer was saved with.

Some saved tokenizers end each text with an end-of-sequence token, cut or fill it to a length, split special
tokens, leave merges out at random, or report offsets without white space. None of this belongs to a prompt, a
candidate or a target.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from polycal.errors import CellError

PROBE = "a"


class TokenizerError(CellError):
    """A tokenizer whose own tokens and those that it adds cannot be distinguished."""


class Encoder:
    """Encodes texts with a tokenizer.

    ``before`` and ``after`` are the ids that the tokenizer adds around each text, such as those of the
    beginning and the end of a sequence. Raises TokenizerError if it changes a text instead, or cannot read one.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        _switch_off_dropout(tokenizer)
        bare = self._ids([PROBE], add_special_tokens=False)[0]
        whole = self._ids([PROBE])[0]
        places = range(len(whole) - len(bare) + 1)
        start = next((place for place in places if whole[place : place + len(bare)] == bare), None)
        if start is None:
            raise TokenizerError(
                f"the tokenizer reads {PROBE!r} as {whole} with special tokens and as {bare} without; special"
                " tokens must only be added around a text."
            )
        self.before, self.after = whole[:start], whole[start + len(bare) :]

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, after ``before`` and without ``after``."""
        rows = self._ids(list(texts)) if texts else []  # transformers fails on an empty list
        return [row[: len(row) - len(self.after)] for row in rows] if self.after else rows

    def _ids(self, texts: list[str], **options: Any) -> list[list[int]]:
        with _readable():
            ids: list[list[int]] = self.tokenizer(texts, **_plain(self.tokenizer), **options)["input_ids"]
        return ids


def encode_with_offsets(
    tokenizer: Any, texts: Sequence[str]
) -> tuple[list[list[int]], list[list[tuple[int, int]]]]:
    """Token ids of each text without added tokens, and the characters [start, end) that each token covers.

    Needs a fast tokenizer.
    """
    _switch_off_dropout(tokenizer)
    with _untrimmed(tokenizer.backend_tokenizer), _readable():
        encoded = tokenizer(
            list(texts), add_special_tokens=False, return_offsets_mapping=True, **_plain(tokenizer)
        )
    return encoded["input_ids"], encoded["offset_mapping"]


def _plain(tokenizer: Any) -> dict[str, Any]:
    """Options that switch off what a tokenizer was saved with."""
    options: dict[str, Any] = {"padding": False, "truncation": False}
    return {**options, "split_special_tokens": False} if tokenizer.is_fast else options


def _switch_off_dropout(tokenizer: Any) -> None:
    """Leave no merge of a byte-pair model out at random, as some were trained with."""
    if tokenizer.is_fast and getattr(tokenizer.backend_tokenizer.model, "dropout", None):
        tokenizer.backend_tokenizer.model.dropout = None


@contextmanager
def _readable() -> Iterator[None]:
    """Turn what the tokenizers library says of a text into TokenizerError."""
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:  # all that the library raises itself
            raise
        raise TokenizerError(
            f"the tokenizer cannot read a text ({error}); use one that reads every text."
        ) from error


@contextmanager
def _untrimmed(backend: Any) -> Iterator[None]:
    """Without the post-processor: apart from adding tokens, it only takes white space out of the offsets."""
    post_processor = backend.post_processor
    backend.post_processor = None
    try:
        yield
    finally:
        backend.post_processor = post_processor
