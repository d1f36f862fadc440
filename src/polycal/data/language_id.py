"""Which language a text is in: from a data set's own tag, else identified by CLD2.

CLD2 (the PyPI package pycld2) carries its tables for 165 languages, those of both benchmarks among them,
loads in no time and reads some fifteen million characters a second.
"""

import importlib.metadata
from collections.abc import Sequence

# CLD2 and data cards keep old or second codes for a few languages.
SAME = {"iw": "he", "tl": "fil", "jw": "jv", "in": "id", "no": "nb", "zh-hant": "zh", "sh": "sr"}
# English names that data sets use as tags, as far as the languages of the study and of common corpora go.
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
LONGEST = 2000


def from_tag(tag: str | None) -> str | None:
    """The code behind a data set's tag: ``English``, ``en``, ``en-US`` and ``en_GB`` are ``en``.

    None where the tag is empty or neither a code of two or three letters nor a name known here.
    """
    word = (tag or "").strip().lower().replace("_", "-")
    if word in NAMES:
        return NAMES[word]
    code = SAME.get(word, word).split("-")[0]
    return SAME.get(code, code) if code.isascii() and code.isalpha() and len(code) in (2, 3) else None


def identifier() -> str:
    """Name and version of what identifies languages."""
    return f"pycld2 {importlib.metadata.version('pycld2')}"


def identify(texts: Sequence[str]) -> tuple[str | None, float]:
    """Language of ``texts`` together and the share of them that it covers, in [0, 1]; None where unsure.

    The first 2,000 characters of each text count. Unsure is what CLD2 itself calls unreliable: short
    texts, code, numbers.
    """
    import pycld2

    joined = "\n".join(text[:LONGEST] for text in texts)
    try:
        try:
            reliable, _, found = pycld2.detect(joined.encode("utf-8", "ignore"))
        except pycld2.error:
            # It refuses control characters and the like; dropping them from every text would take longer
            # than the identification.
            clean = "".join(c for c in joined if c.isprintable() or c.isspace())
            reliable, _, found = pycld2.detect(clean.encode("utf-8", "ignore"))
    except pycld2.error:
        return None, 0.0
    _, code, percent, _ = found[0]
    if not reliable or code == "un":
        return None, 0.0
    return from_tag(code), percent / 100
