"""The language of each conversation, and the number of conversations by language, source and split."""

from collections import Counter, defaultdict
from typing import Any

from polycal.data import language_id, language_tags

UNKNOWN_TAG = ""
"""The ``language`` of a conversation whose tag names no single language."""


class LanguageCounts:
    """Determines the language of each conversation, and counts the conversations.

    The language is the first of these that exists: the language ``declared`` for the whole data set, the tag
    of the conversation, and the language that ``language_id`` identifies in the turns of user and assistant.
    It is unknown if the tag is UNKNOWN_TAG or if none is identified.
    """

    def __init__(self, declared: str | None) -> None:
        self.declared = language_tags.language_code(declared) or declared
        self.by_source: Counter[str] = Counter()
        self.by_language: Counter[str] = Counter()
        self.by_split: Counter[str] = Counter()
        self.language_from: Counter[str] = Counter()
        self.identified: Counter[str] = Counter()
        self.confidence: defaultdict[str, float] = defaultdict(float)

    def with_language(self, conversation: dict[str, Any]) -> dict[str, Any]:
        """Count a conversation, and return it with its ``language`` (None if unknown)."""
        language: str | None
        if self.declared is not None:
            language, how = self.declared, "declared"
        elif conversation["language"] == UNKNOWN_TAG:
            language, how = None, "unknown tag"
        elif conversation["language"] is not None:
            language, how = conversation["language"], "tagged"
        else:
            texts = [turn["content"] for turn in conversation["messages"] if turn["role"] != "system"]
            language, share = language_id.identify(texts)
            how = "identified" if language is not None else "unknown"
            if language is not None:
                self.confidence[language] += share
                self.identified[language] += 1
        self.by_source[conversation["source"]] += 1
        self.by_language[language or "unknown"] += 1
        self.by_split[conversation["split"]] += 1
        self.language_from[how] += 1
        return {**conversation, "language": language}

    def metadata(self) -> dict[str, Any]:
        """The counts.

        ``confidence`` of an identified language is the mean share of the text that is in it.
        """
        return {
            "by_source": dict(self.by_source.most_common()),
            "by_language": dict(self.by_language.most_common()),
            "by_split": dict(self.by_split),
            "language_from": dict(self.language_from),
            "identifier": language_id.identifier() if self.declared is None else None,
            "identified": {
                language: {"count": count, "confidence": round(self.confidence[language] / count, 4)}
                for language, count in self.identified.most_common()
            },
        }
