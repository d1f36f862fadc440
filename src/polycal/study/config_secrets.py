"""Finds secrets in a configuration. A configuration is written into results, so it must not contain one."""

import re
from collections.abc import Mapping
from typing import Any

SECRET_TEXT = re.compile(
    r"\b(hf_[A-Za-z0-9]{20,}|api_org_[A-Za-z0-9]{20,}|gh[opsu]_[A-Za-z0-9]{20,}"
    r"|sk-[A-Za-z0-9_-]{20,}|AKIA[A-Z0-9]{16})\b"
    r"|://[^/\s:@]+:[^/\s@]+@"
)
"""Access tokens of the Hugging Face Hub and similar services, and passwords in URLs."""
SECRET_KEY = re.compile(r"(?i)(^|[._-])(\w+_)?(token|password|secret|api_?key|credentials?)$")
HARMLESS_KEYS = {"next_token"}
"""Keys of the configuration that SECRET_KEY matches, but that hold no secret."""


def secret_key(value: Any, key: str = "") -> str | None:
    """The path of the first key in ``value`` whose name or text looks like a secret; None if there is none.

    ``key`` is the path of ``value`` in the configuration. The result never contains the secret.
    """
    if isinstance(value, Mapping):
        for name, entry in value.items():
            inner = f"{key}.{name}".lstrip(".")
            secret_name = secret_key(str(name), f"{key or 'the configuration'} (a key of it)")
            if secret := secret_name or secret_key(entry, inner):
                return secret
    elif isinstance(value, list):
        for number, entry in enumerate(value):
            if secret := secret_key(entry, f"{key}.{number}"):
                return secret
    elif isinstance(value, str):
        is_secret_key = SECRET_KEY.search(key) and key not in HARMLESS_KEYS
        return key if is_secret_key or SECRET_TEXT.search(value) else None
    return None
