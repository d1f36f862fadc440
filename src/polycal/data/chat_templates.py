"""Conversations as tokens: chat templates by name, and which tokens are targets.

Targets are the tokens of assistant turns, the end-of-sequence of each included. A template is Jinja as
transformers reads it, with the assistant's words between ``{% generation %}`` and ``{% endgeneration %}``.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from polycal.errors import PolycalError
from polycal.training.batches import Rows

Message = Mapping[str, str]

# Names of formats; "tulu" is the format of the Tulu models (arXiv 2311.10702).
TEMPLATES = {
    "tulu": (
        "{% for message in messages %}"
        "{{ '<|' + message['role'] + '|>\\n' }}"
        "{% if message['role'] == 'assistant' %}"
        "{% generation %}{{ message['content'] | trim + eos_token }}{% endgeneration %}"
        "{% else %}{{ message['content'] | trim }}{% endif %}"
        "{{ '\\n' if not loop.last or message['role'] != 'assistant' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
    ),
}
ROLES = ("system", "user", "assistant")
CHUNK = 1000


class ChatError(PolycalError):
    """A template that does not exist, or a tokenizer that cannot be trained with."""


def template(name: str, tokenizer: Any) -> str:
    """The Jinja of a named template for a tokenizer, with its beginning-of-sequence where it sets one.

    Raises ChatError for an unknown name.
    """
    if name not in TEMPLATES:
        raise ChatError(f"chat_template {name!r} does not exist; known: {', '.join(sorted(TEMPLATES))}.")
    first = tokenizer("a")["input_ids"][0]
    begins = tokenizer.bos_token_id is not None and first == tokenizer.bos_token_id
    return ("{{ bos_token }}" if begins else "") + TEMPLATES[name]


def tokenize(
    tokenizer: Any, conversations: Iterable[Sequence[Message]], name: str, max_length: int
) -> tuple[Rows, Counter[str]]:
    """Rows of tokens with their targets, and how many conversations were left out or cut, by reason.

    A conversation longer than ``max_length`` tokens is cut; it is left out if no target remains. Raises
    ChatError where the tokenizer has no end-of-sequence or gives no offsets.
    """
    if tokenizer.eos_token is None:
        raise ChatError(
            "the tokenizer has no end-of-sequence token, which every assistant turn must end with."
        )
    if not tokenizer.is_fast:
        raise ChatError("the tokenizer has no tokenizer.json; targets are found by its offsets.")
    source, counts = template(name, tokenizer), Counter[str]()
    found = Rows.collect(_rows(tokenizer, conversations, source, max_length, counts))
    return found, counts


def _rows(
    tokenizer: Any,
    conversations: Iterable[Sequence[Message]],
    source: str,
    max_length: int,
    counts: Counter[str],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    from transformers.utils.chat_template_utils import render_jinja_template

    special = {"bos_token": tokenizer.bos_token, "eos_token": tokenizer.eos_token}
    good = (c for c in conversations if not _refused(c, counts))
    while chunk := [list(map(dict, c)) for c in islice(good, CHUNK)]:
        rendered: Any = render_jinja_template(
            conversations=chunk, chat_template=source, return_assistant_tokens_mask=True, **special
        )
        texts, spans = rendered
        encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
        for ids, offsets, turns in zip(encoded["input_ids"], encoded["offset_mapping"], spans, strict=True):
            starts, ends = np.asarray(offsets, dtype=np.int64).reshape(-1, 2).T
            target = np.zeros(len(ids), dtype=bool)
            for first, last in turns:
                target |= (starts >= first) & (ends <= last) & (ends > starts)
            # nothing stands before the first token, so nothing can predict it
            target[:1] = False
            if len(ids) > max_length:
                counts["cut to max_length"] += 1
            if not target[:max_length].any():
                counts["no target within max_length"] += 1
                continue
            yield np.asarray(ids[:max_length], dtype=np.int32), target[:max_length]


def _refused(conversation: Sequence[Message], counts: Counter[str]) -> bool:
    if not conversation:
        reason = "empty"
    elif any(m["role"] not in ROLES for m in conversation):
        reason = "unknown role"
    elif not any(m["role"] == "assistant" and (m["content"] or "").strip() for m in conversation):
        reason = "no assistant turn"
    elif any(m["content"] is None for m in conversation):
        reason = "message without content"
    else:
        return False
    counts[reason] += 1
    return True
