"""Conversations as tokens, and which of the tokens are targets.

Targets are the tokens of assistant turns, including the end-of-sequence token of each turn. An empty
assistant turn is part of the context but not a target, because it would train the model to stop at once.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

import numpy as np

from polycal.data import chat_templates, text_content, token_ids
from polycal.data.chat_templates import ChatError

Message = Mapping[str, str]

ROLES = ("system", "user", "assistant")
CHUNK = 1000
"""Number of conversations that are rendered and tokenized together."""


@dataclass(frozen=True)
class TokenizedRows:
    """N rows with T tokens in total, concatenated: ``tokens`` [T] int32 and ``targets`` [T] bool.

    Row i is ``starts[i]`` … ``starts[i + 1]`` − 1, where ``starts`` is [N + 1] int64.
    """

    tokens: np.ndarray
    targets: np.ndarray
    starts: np.ndarray

    @classmethod
    def collect(cls, rows: Iterable[tuple[np.ndarray, np.ndarray]]) -> Self:
        """Concatenate rows, which are pairs of tokens and targets."""
        tokens, targets, starts = [np.zeros(0, np.int32)], [np.zeros(0, bool)], [0]
        for ids, is_target in rows:
            tokens.append(ids)
            targets.append(is_target)
            starts.append(starts[-1] + len(ids))
        return cls(np.concatenate(tokens), np.concatenate(targets), np.asarray(starts, dtype=np.int64))

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each row, [N] int64."""
        return np.diff(self.starts)

    def row(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and targets of one row."""
        part = slice(self.starts[number], self.starts[number + 1])
        return self.tokens[part], self.targets[part]


def tokenize(
    tokenizer: Any, conversations: Iterable[Sequence[Message]], template: str, max_length: int
) -> tuple[TokenizedRows, Counter[str]]:
    """Render conversations with the chat template ``template``, and tokenize them.

    A conversation of more than ``max_length`` tokens is truncated. It is skipped if no target remains. The
    second result contains the number of conversations that were truncated or skipped, by reason, and under
    ``empty answer`` the number of assistant turns without text, which are not targets. Raises ChatError if
    the template is unknown, and if the tokenizer has no end-of-sequence token or no offsets.
    """
    if tokenizer.eos_token is None:
        raise ChatError(
            "the tokenizer has no end-of-sequence token, but every assistant turn must end with one."
        )
    if not tokenizer.is_fast:
        raise ChatError("the tokenizer has no tokenizer.json, which is needed to find the targets.")
    source, counts = chat_templates.template(template, tokenizer), Counter[str]()
    rows = TokenizedRows.collect(_rows(tokenizer, conversations, source, max_length, counts))
    return rows, counts


def _rows(
    tokenizer: Any,
    conversations: Iterable[Sequence[Message]],
    source: str,
    max_length: int,
    counts: Counter[str],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Tokens and targets of each usable conversation. ``source`` is the text of the chat template."""
    from transformers.utils.chat_template_utils import render_jinja_template

    special = {"bos_token": tokenizer.bos_token, "eos_token": tokenizer.eos_token}
    usable = (c for c in conversations if not _is_skipped(c, counts))
    while chunk := [[{**m, "content": m["content"] or ""} for m in c] for c in islice(usable, CHUNK)]:
        rendered: Any = render_jinja_template(
            conversations=chunk, chat_template=source, return_assistant_tokens_mask=True, **special
        )
        texts, spans = rendered
        encoded = zip(*token_ids.encode_with_offsets(tokenizer, texts), strict=True)
        for conversation, (ids, offsets), turns in zip(chunk, encoded, spans, strict=True):
            blank = [text_content.is_blank(m["content"]) for m in conversation if m["role"] == "assistant"]
            answered = [turn for turn, is_blank in zip(turns, blank, strict=True) if not is_blank]
            if len(answered) < len(turns):
                counts["empty answer"] += len(turns) - len(answered)
            target = _targets(offsets, answered)
            if len(ids) > max_length:
                counts["cut to max_length"] += 1
            if not target[:max_length].any():
                counts["no target within max_length"] += 1
                continue
            yield np.asarray(ids[:max_length], dtype=np.int32), target[:max_length]


def _targets(offsets: Sequence[tuple[int, int]], turns: Iterable[tuple[int, int]]) -> np.ndarray:
    """Whether each token is a target, from the characters of each token and of each target turn.

    The tokens of a turn are those from the first to the last token whose characters are all inside the turn.
    """
    starts, ends = np.asarray(offsets, dtype=np.int64).reshape(-1, 2).T
    target = np.zeros(len(offsets), dtype=bool)
    for first, last in turns:
        inside = np.flatnonzero((starts >= first) & (ends <= last) & (ends > starts))
        if len(inside):
            target[inside[0] : inside[-1] + 1] = True
    # The first token cannot be predicted, because it has no context.
    target[:1] = False
    return target


def _is_skipped(conversation: Sequence[Message], counts: Counter[str]) -> bool:
    """Whether a conversation cannot be trained on. If so, the reason is counted in ``counts``."""
    if not conversation:
        reason = "empty"
    elif any(m["role"] not in ROLES for m in conversation):
        reason = "unknown role"
    elif all(m["role"] != "assistant" or text_content.is_blank(m["content"] or "") for m in conversation):
        reason = "no assistant turn"
    elif any(m["content"] is None and m["role"] != "assistant" for m in conversation):
        reason = "message without content"
    else:
        return False
    counts[reason] += 1
    return True
