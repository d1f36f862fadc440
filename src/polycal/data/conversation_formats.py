"""Convert rows of instruction data sets into the messages of a conversation.

The formats are:

- ``alpaca`` (tatsu-lab/alpaca): columns instruction, input and output.
- ``messages`` (allenai/tulu-3-sft-mixture, arazd/tulu_stanford_alpaca and most others): a column of messages
  with role and content.
- ``openhermes`` (teknium/OpenHermes-2.5): a column conversations with from and value.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from polycal.artifacts.records import RecordError
from polycal.data import json_values, text_content
from polycal.data.readers import Row

ROLE_NAMES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
}
"""The name of a role in a data set → the role."""

Messages = list[dict[str, str]]
"""Messages of one conversation: ``role`` (system, user, assistant) and ``content``."""


class SkippedRow(Exception):
    """A row cannot be trained on. The message is the reason under which it is counted."""


class ConversationFormat(NamedTuple):
    """A function that converts rows, and the columns that it needs.

    ``messages`` takes the location of a row, for errors, and the row. It raises SkippedRow for an unknown
    role, and RecordError for a value of a wrong type.
    """

    messages: Callable[[str, Row], Messages]
    columns: list[str]


def trimmed(messages: Messages) -> Messages:
    """The messages up to the last answer, without empty system turns.

    Raises SkippedRow if there is no answer.
    """
    if all(text_content.is_blank(message["content"]) for message in messages):
        raise SkippedRow("empty conversation")
    if not any(map(_is_answer, messages)):
        raise SkippedRow("no assistant turn")
    # Messages after the last answer contain no target. An empty answer would train the model to stop at once.
    while not _is_answer(messages[-1]):
        messages = messages[:-1]
    return [m for m in messages if m["role"] != "system" or not text_content.is_blank(m["content"])]


def _is_answer(message: dict[str, str]) -> bool:
    """Whether a message is an assistant turn with text."""
    return message["role"] == "assistant" and not text_content.is_blank(message["content"])


def _alpaca(where: str, row: Row) -> Messages:
    """The user's turn is ``instruction``, with ``input`` as a second paragraph. The answer is ``output``."""
    parts = [_text(row[column], where, column) for column in ("instruction", "input")]
    user = "\n\n".join(part for part in parts if part.strip())
    return [
        {"role": "user", "content": user},
        {"role": "assistant", "content": _text(row["output"], where, "output")},
    ]


def _messages(where: str, row: Row) -> Messages:
    return _turns(where, row["messages"], "messages", "role", "content")


def _openhermes(where: str, row: Row) -> Messages:
    """The column ``system_prompt`` becomes the first turn if the conversation has no system turn."""
    turns = _turns(where, row["conversations"], "conversations", "from", "value")
    prompt = row.get("system_prompt")
    if isinstance(prompt, str) and prompt.strip() and not any(turn["role"] == "system" for turn in turns):
        return [{"role": "system", "content": text_content.as_unicode(prompt)}, *turns]
    return turns


FORMATS = {
    "alpaca": ConversationFormat(_alpaca, ["instruction", "input", "output"]),
    "messages": ConversationFormat(_messages, ["messages"]),
    "openhermes": ConversationFormat(_openhermes, ["conversations"]),
}


def _turns(where: str, value: Any, column: str, role_key: str, text_key: str) -> Messages:
    """Messages from a list of turns, or from the JSON text of such a list, as in csv."""
    if isinstance(value, str):
        try:
            value = json_values.parse(value)
        except ValueError as error:
            raise RecordError(f"{where}: {column} is not a JSON list: {error}.") from error
    if value is None:
        return []
    if not isinstance(value, list):
        raise RecordError(
            f"{where}: {column} is {type(value).__name__}; must be a list of {role_key} and {text_key}."
        )
    turns = []
    for index, turn in enumerate(value):
        if not isinstance(turn, dict) or role_key not in turn or text_key not in turn:
            raise RecordError(f"{where}: {column}[{index}] must have the keys {role_key!r} and {text_key!r}.")
        role = ROLE_NAMES.get(str(turn[role_key]).lower())
        if role is None:
            raise SkippedRow(f"role {turn[role_key]!r}")
        turns.append({"role": role, "content": _text(turn[text_key], where, f"{column}[{index}].{text_key}")})
    return turns


def _text(value: Any, where: str, column: str) -> str:
    """A text in valid Unicode; empty for null. Raises RecordError for other types."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RecordError(f"{where}: {column} is {value!r} ({type(value).__name__}); must be a text.")
    return text_content.as_unicode(value)
