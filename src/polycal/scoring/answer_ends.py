"""Where a generated answer ends: at an end-of-sequence token or at the end of its first line."""

from collections.abc import Sequence
from typing import Any, NamedTuple

CHUNK = 10_000
"""Number of tokens that are decoded together."""


class CutAnswer(NamedTuple):
    """A generated answer.

    It has a text, the number of its tokens, the number of tokens that were chosen including the one that ends it,
    and whether the length cut it before its end.
    """

    text: str
    tokens: int
    chosen: int
    was_cut: bool


class AnswerEnds:
    """The tokens that end an answer. ``ids`` are sorted token ids.

    They are the end-of-sequence tokens of tokenizer and model, and all tokens that contain a line break.
    """

    def __init__(self, tokenizer: Any, model: Any) -> None:
        self.tokenizer = tokenizer
        # For each token with a line break: whether it has visible text before it.
        self._line_breaks = _line_breaks(tokenizer)
        found = set(self._line_breaks)
        for source in (tokenizer, model.config.get_text_config(), getattr(model, "generation_config", None)):
            named = getattr(source, "eos_token_id", None)
            found |= set(named if isinstance(named, (list, tuple)) else [named]) - {None}
        self.ids = sorted(found)
        self._set = found

    def cut(self, tokens: Sequence[int]) -> CutAnswer:
        """The answer in generated ``tokens``, of which those after its end are ignored.

        The text is the first line without white space around it. The token that ends an answer counts only if it
        has text before the line break, or if the answer has no other token.
        """
        end = next((place for place, token in enumerate(tokens) if token in self._set), None)
        kept = list(tokens if end is None else tokens[: end + 1])
        text = self.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        counted = len(kept) - (end is not None and not self._line_breaks.get(kept[-1], False))
        return CutAnswer(text.split("\n", 1)[0].strip(), max(counted, 1), len(kept), end is None)


def _line_breaks(tokenizer: Any) -> dict[int, bool]:
    """The tokens that contain a line break, each with whether visible text is before it."""
    ids, found = sorted(set(tokenizer.get_vocab().values())), {}
    for first in range(0, len(ids), CHUNK):
        part = ids[first : first + CHUNK]
        texts = tokenizer.batch_decode([[token] for token in part], clean_up_tokenization_spaces=False)
        for token, text in zip(part, texts, strict=True):
            before, line_break, _ = text.partition("\n")
            if line_break:
                found[token] = bool(before.strip())
    return found
