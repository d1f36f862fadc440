"""The text of a chat format around a prompt."""

import functools
from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template

from polycal.data.chat_templates import TEMPLATES
from polycal.scoring.prompts import ChatTurn, PromptError


@functools.cache
def user_turn(chat_template: str) -> ChatTurn:
    """The text of a chat format around one user turn, up to the beginning of the assistant's answer.

    It contains no beginning-of-sequence token, because the tokenizer adds it. Raises PromptError if the
    format is unknown.
    """
    if chat_template not in TEMPLATES:
        known = ", ".join(sorted(TEMPLATES))
        raise PromptError(f"chat_template {chat_template!r} does not exist; known: {known}.")
    placeholder = "words"
    rendered: Any = render_jinja_template(
        conversations=[[{"role": "user", "content": placeholder}]],
        chat_template=TEMPLATES[chat_template],
        add_generation_prompt=True,
    )
    opening, _, closing = rendered[0][0].partition(placeholder)
    return ChatTurn(opening, closing)
