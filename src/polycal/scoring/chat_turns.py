"""The text that a chat format puts around a prompt."""

import functools
from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template

from polycal.data.chat_templates import TEMPLATES
from polycal.scoring.prompts import ChatTurn, PromptError


@functools.cache
def user_turn(chat_template: str) -> ChatTurn:
    """The text around one user turn of the named format, up to where the assistant's answer begins.

    The tokenizer adds its own beginning-of-sequence token. Raises PromptError for an unknown format.
    """
    if chat_template not in TEMPLATES:
        known = ", ".join(sorted(TEMPLATES))
        raise PromptError(f"chat_template {chat_template!r} does not exist; known: {known}")
    placeholder = "words"
    rendered: Any = render_jinja_template(
        conversations=[[{"role": "user", "content": placeholder}]],
        chat_template=TEMPLATES[chat_template],
        add_generation_prompt=True,
    )
    opening, _, closing = rendered[0][0].partition(placeholder)
    return ChatTurn(opening, closing)
