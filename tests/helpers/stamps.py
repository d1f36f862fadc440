"""Stamps for stages that are called without ``polycal.store``."""

from typing import Any


class FixedStamp:
    """A stamp that records the given ``facts`` and nothing about the machine."""

    def __init__(self, **facts: Any) -> None:
        self.facts = facts
        self.fingerprint = str(facts.get("fingerprint", "f" * 64))

    def __call__(self, **usage: float) -> dict[str, Any]:
        return dict(self.facts)
