"""Chat templates by name, as text.

A template is Jinja as transformers reads it. ``{% generation %}`` and ``{% endgeneration %}`` enclose the text of
the assistant, which is what a model is trained on.
"""

from typing import Any

from polycal.data.token_ids import Encoder
from polycal.errors import CellError

TEMPLATES = {
    # the format of the Tulu models (arXiv 2311.10702)
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
    """A chat template that does not exist, or a tokenizer that cannot be used for training."""


def template(name: str, tokenizer: Any) -> str:
    """The Jinja template ``name`` for a tokenizer, preceded by the beginning-of-sequence token if it adds one.

    Raises ChatError for an unknown name.
    """
    if name not in TEMPLATES:
        raise ChatError(f"chat_template {name!r} does not exist; known: {', '.join(sorted(TEMPLATES))}.")
    bos = tokenizer.bos_token_id
    adds_bos = bos is not None and Encoder(tokenizer).before[:1] == [bos]
    return ("{{ bos_token }}" if adds_bos else "") + TEMPLATES[name]
