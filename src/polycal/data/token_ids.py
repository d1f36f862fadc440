"""Encode texts as token ids, without the options that a tokenizer was saved with.

Some saved tokenizers append an end-of-sequence token to each text, truncate or pad it, split special tokens,
drop merges at random, or report offsets without white space. None of this is wanted for a prompt, a candidate
or a target.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from polycal.errors import CellError

PROBE = "a"
"""The text with which the added tokens are determined."""


class TokenizerError(CellError):
    """A tokenizer cannot read a text, or changes a text when it adds special tokens."""


class Encoder:
    """Encodes texts with a tokenizer.

    ``before`` and ``after`` are the ids that the tokenizer adds around each text, for example those of the
    beginning and the end of a sequence. Raises TokenizerError if the tokenizer changes a text when it adds
    special tokens, or cannot read a text.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        _switch_off_dropout(tokenizer)
        bare = self._ids([PROBE], add_special_tokens=False)[0]
        with_special = self._ids([PROBE])[0]
        starts = range(len(with_special) - len(bare) + 1)
        start = next((start for start in starts if with_special[start : start + len(bare)] == bare), None)
        if start is None:
            raise TokenizerError(
                f"the tokenizer reads {PROBE!r} as {with_special} with special tokens and as {bare} without; special"
                " tokens must only be added around a text."
            )
        self.before, self.after = with_special[:start], with_special[start + len(bare) :]

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text, with ``before`` and without ``after``."""
        rows = self._ids(list(texts)) if texts else []  # transformers fails on an empty list
        return [row[: len(row) - len(self.after)] for row in rows] if self.after else rows

    def _ids(self, texts: list[str], **options: Any) -> list[list[int]]:
        """The token ids of each text with all tokens that the tokenizer adds."""
        with _readable():
            ids: list[list[int]] = self.tokenizer(texts, **_plain(self.tokenizer), **options)["input_ids"]
        return ids


def encode_with_offsets(
    tokenizer: Any, texts: Sequence[str]
) -> tuple[list[list[int]], list[list[tuple[int, int]]]]:
    """The token ids of each text without added tokens, and the characters [start, end) that each token covers.

    ``tokenizer`` must be a fast tokenizer. Raises TokenizerError if it cannot read a text.
    """
    _switch_off_dropout(tokenizer)
    with _untrimmed(tokenizer.backend_tokenizer), _readable():
        encoded = tokenizer(
            list(texts), add_special_tokens=False, return_offsets_mapping=True, **_plain(tokenizer)
        )
    return encoded["input_ids"], encoded["offset_mapping"]


def _plain(tokenizer: Any) -> dict[str, Any]:
    """Options that switch off saved padding, truncation and splitting of special tokens."""
    options: dict[str, Any] = {"padding": False, "truncation": False}
    return {**options, "split_special_tokens": False} if tokenizer.is_fast else options


def _switch_off_dropout(tokenizer: Any) -> None:
    """Switch off the random dropping of merges (BPE dropout), with which some tokenizers were saved."""
    if tokenizer.is_fast and getattr(tokenizer.backend_tokenizer.model, "dropout", None):
        tokenizer.backend_tokenizer.model.dropout = None


@contextmanager
def _readable() -> Iterator[None]:
    """Turn an error of the tokenizers library into TokenizerError."""
    try:
        yield
    except Exception as error:
        # The library raises plain Exception. A subclass comes from elsewhere.
        if type(error) is not Exception:
            raise
        raise TokenizerError(
            f"the tokenizer cannot read a text ({error}); use one that reads every text."
        ) from error


@contextmanager
def _untrimmed(backend: Any) -> Iterator[None]:
    """Switch off the post-processor, which adds tokens and removes white space from the offsets."""
    post_processor = backend.post_processor
    backend.post_processor = None
    try:
        yield
    finally:
        backend.post_processor = post_processor
