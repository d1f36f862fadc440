"""Refuses configurations that contain a secret: a configuration is written into results."""

import re
from collections.abc import Mapping
from typing import Any

SECRET_TEXT = re.compile(
    r"\b(hf_[A-Za-z0-9]{20,}|api_org_[A-Za-z0-9]{20,}|gh[opsu]_[A-Za-z0-9]{20,}"
    r"|sk-[A-Za-z0-9_-]{20,}|AKIA[A-Z0-9]{16})\b"
    r"|://[^/\s:@]+:[^/\s@]+@"
)
"""Access tokens of the Hugging Face Hub and of services often used with it, and passwords in URLs."""
SECRET_KEY = re.compile(r"(?i)(^|[._-])(\w+_)?(token|password|secret|api_?key|credentials?)$")
NO_SECRETS = {"next_token"}
"""Keys of the configuration that look like the name of a secret but are none."""


def secret_key(value: Any, key: str = "") -> str | None:
    """The first key in ``value`` whose name or text looks like a secret; None without one.

    ``key`` is the path of ``value`` in the configuration. The result never contains the secret itself.
    """
    if isinstance(value, Mapping):
        for name, entry in value.items():
            inner = f"{key}.{name}".lstrip(".")
            found = secret_key(str(name), f"{key or 'the configuration'} (a key of it)") or secret_key(
                entry, inner
            )
            if found:
                return found
    elif isinstance(value, list):
        for number, entry in enumerate(value):
            if found := secret_key(entry, f"{key}.{number}"):
                return found
    elif isinstance(value, str):
        named = SECRET_KEY.search(key) and key not in NO_SECRETS
        return key if named or SECRET_TEXT.search(value) else None
    return None
