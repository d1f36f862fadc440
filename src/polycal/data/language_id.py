"""Which language a text is in: from a data set's own tag, or identified by CLD2.

CLD2 (the PyPI package pycld2) contains tables for 165 languages, including those of both benchmarks. It loads
in negligible time and reads about fifteen million characters per second.
"""

import importlib.metadata
from collections.abc import Sequence

CODES = {"iw": "he", "tl": "fil", "jw": "jv", "in": "id", "no": "nb", "zh-hant": "zh", "sh": "sr"}
"""Current code by old or alternative code, for the few languages that CLD2 and data cards write
differently."""
NAMES = {
    name: code
    for code, names in {
        "af": "afrikaans", "am": "amharic", "ar": "arabic", "az": "azerbaijani", "be": "belarusian",
        "bg": "bulgarian", "bn": "bengali bangla", "ca": "catalan", "cs": "czech", "da": "danish",
        "de": "german", "el": "greek", "en": "english", "es": "spanish", "et": "estonian", "eu": "basque",
        "fa": "persian farsi", "fi": "finnish", "fil": "filipino tagalog", "fr": "french", "gl": "galician",
        "gu": "gujarati", "ha": "hausa", "he": "hebrew", "hi": "hindi", "hr": "croatian", "hu": "hungarian",
        "hy": "armenian", "id": "indonesian", "ig": "igbo", "is": "icelandic", "it": "italian",
        "ja": "japanese", "jv": "javanese", "ka": "georgian", "kk": "kazakh", "km": "khmer", "kn": "kannada",
        "ko": "korean", "ky": "kyrgyz", "la": "latin", "lo": "lao", "lt": "lithuanian", "lv": "latvian",
        "mg": "malagasy", "mk": "macedonian", "ml": "malayalam", "mn": "mongolian", "mr": "marathi",
        "ms": "malay", "my": "burmese", "nb": "norwegian", "ne": "nepali", "nl": "dutch",
        "ny": "chichewa nyanja", "pa": "punjabi", "pl": "polish", "ps": "pashto", "pt": "portuguese",
        "ro": "romanian", "ru": "russian", "sd": "sindhi", "si": "sinhala", "sk": "slovak", "sl": "slovenian",
        "sn": "shona", "so": "somali", "sq": "albanian", "sr": "serbian", "sv": "swedish", "sw": "swahili",
        "ta": "tamil", "te": "telugu", "th": "thai", "tr": "turkish", "uk": "ukrainian", "ur": "urdu",
        "uz": "uzbek", "vi": "vietnamese", "wo": "wolof", "xh": "xhosa", "yi": "yiddish", "yo": "yoruba",
        "zh": "chinese", "zu": "zulu",
    }.items()
    for name in names.split()
}  # fmt: skip
"""Code by English name, as data sets use it for a tag; the languages of the study and of common corpora."""
MAX_CHARACTERS = 2000
"""Characters of each text that are read."""


def from_tag(tag: str | None) -> str | None:
    """The language code of a data set's tag: ``English``, ``en``, ``en-US`` and ``en_GB`` give ``en``.

    None if the tag is empty, or neither a code of two or three letters nor a known name.
    """
    word = (tag or "").strip().lower().replace("_", "-")
    if word in NAMES:
        return NAMES[word]
    code = CODES.get(word, word).split("-")[0]
    return CODES.get(code, code) if code.isascii() and code.isalpha() and len(code) in (2, 3) else None


def identifier() -> str:
    """Name and version of the library that identifies languages."""
    return f"pycld2 {importlib.metadata.version('pycld2')}"


def identify(texts: Sequence[str]) -> tuple[str | None, float]:
    """The main language of ``texts`` taken together, and the share of the text that it covers, in [0, 1].

    The first ``MAX_CHARACTERS`` of each text are read. (None, 0) if CLD2 calls its result unreliable, as for
    short texts, code and numbers.
    """
    import pycld2

    joined = "\n".join(text[:MAX_CHARACTERS] for text in texts)
    try:
        try:
            is_reliable, _, languages = pycld2.detect(joined.encode("utf-8", "ignore"))
        except pycld2.error:
            # CLD2 refuses control characters and similar ones. Removing them from every text beforehand would
            # take longer than the identification.
            clean = "".join(c for c in joined if c.isprintable() or c.isspace())
            is_reliable, _, languages = pycld2.detect(clean.encode("utf-8", "ignore"))
    except pycld2.error:
        return None, 0.0
    _, code, percent, _ = languages[0]
    if not is_reliable or code == "un":
        return None, 0.0
    return from_tag(code), percent / 100
