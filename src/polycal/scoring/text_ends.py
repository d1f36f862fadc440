"""Tokenize long texts that differ only near their ends, without reading their common beginning again.

Tokenizers work locally: what follows a text changes its last tokens only. With many few-shot examples before a
question, most of the time would go into tokens that are known. The first texts of a run are compared with their
complete tokenization, and a tokenizer that does not work locally is then used in full.
"""

from collections.abc import Sequence

import numpy as np

from polycal.data.token_ids import Encoder
from polycal.scoring.candidates import common_prefix_length

MARGIN = 16
"""Number of tokens before the first different one that must be known ones. Merges of tokens reach less far."""
COMPARED = 3
"""Number of calls whose result is compared with the complete tokenization."""


class TextEnds:
    """Tokenizes texts whose beginning is known. ``local`` says whether the tokenizer works locally so far."""

    def __init__(self, encode: Encoder) -> None:
        self.local = True
        self._encode = encode
        self._uncompared = COMPARED

    def __call__(
        self, known: np.ndarray, beginning: str, known_end: str, ends: Sequence[str]
    ) -> list[list[int]]:
        """The tokens of ``beginning`` and each of ``ends`` as one text.

        ``known``, int [length], are the tokens of ``beginning`` and ``known_end`` as one text.
        """
        sequences = self._from_ends(known, known_end, ends) if beginning and self.local else None
        if sequences is not None and not self._uncompared:
            return sequences
        complete = self._encode([beginning + end for end in ends])
        if sequences is not None:
            self._uncompared -= 1
            self.local = sequences == complete
        return complete

    def _from_ends(self, known: np.ndarray, known_end: str, ends: Sequence[str]) -> list[list[int]] | None:
        """The tokens, or None if the ends differ from the known one too early to be certain."""
        first, *others = (tokens[len(self._encode.before) :] for tokens in self._encode([known_end, *ends]))
        last = known[-len(first) :].tolist()
        alike = common_prefix_length(last[::-1], first[::-1])
        sequences = []
        for tokens in others:
            shared = common_prefix_length(first, tokens)
            if len(first) - shared + MARGIN > alike:
                return None
            sequences.append([*known[: len(known) - len(first) + shared].tolist(), *tokens[shared:]])
        return sequences
