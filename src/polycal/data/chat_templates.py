"""Chat templates by name, as text.

A template is Jinja, as in transformers. ``{% generation %}`` and ``{% endgeneration %}`` enclose the text of
the assistant, on which a model is trained.
"""

from typing import Any

from polycal.data.token_ids import Encoder
from polycal.errors import CellError

TEMPLATES = {
    # The format of the Tulu models (arXiv 2311.10702).
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
"""Name of a format → its Jinja template."""


class ChatError(CellError):
    """A chat template does not exist, or a tokenizer cannot be used with it."""


def template(name: str, tokenizer: Any) -> str:
    """The Jinja template ``name``, preceded by the beginning-of-sequence token if the tokenizer adds one.

    Raises ChatError if the name is unknown.
    """
    if name not in TEMPLATES:
        raise ChatError(f"chat_template {name!r} does not exist; known: {', '.join(sorted(TEMPLATES))}.")
    bos = tokenizer.bos_token_id
    adds_bos = bos is not None and Encoder(tokenizer).before[:1] == [bos]
    return ("{{ bos_token }}" if adds_bos else "") + TEMPLATES[name]
