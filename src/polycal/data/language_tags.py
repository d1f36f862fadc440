"""Convert the language tags of data sets to BCP 47.

The tags can be BCP 47, ISO 639-3, FLORES (``deu_Latn``) or English names. The tables are those of
``langcodes`` (IANA's registry and CLDR).
"""

import re
from functools import lru_cache

import langcodes

ALIASES = {"no": "nb", "sh": "sr"}
"""Code in langcodes → the code that polycal uses instead."""
UNKNOWN = {"mis", "mul", "nan", "und", "unk", "zxx"}
"""Tags that name no single language.

Some are also codes of small languages (``unk``: Enawené-Nawé, ``nan``: Min Nan). But data sets use them for
an unknown language, and ``nan`` is an empty cell of pandas.
"""
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
"""English name → code, for the languages of the benchmarks and of common corpora."""


@lru_cache(maxsize=10_000)
def standard_tag(tag: str | None) -> str | None:
    """The tag in BCP 47's preferred form. None if the tag is empty or names no single language.

    ``eng``, ``English`` and ``en_Latn`` give ``en``, and ``pt_BR`` gives ``pt-BR``. A code of three letters
    that belongs to a macrolanguage gives the macrolanguage (``cmn`` gives ``zh``).
    """
    word = re.split(r"[.@]", (tag or "").strip().lower().replace("_", "-"))[0]
    word = NAMES.get(word, word)
    try:
        standard = langcodes.standardize_tag(word)
        if len(standard.split("-")[0]) > 2:
            standard = langcodes.standardize_tag(word, macro=True)
    except langcodes.LanguageTagError:
        return None
    code, *rest = standard.split("-")
    is_private = re.fullmatch("q[a-t][a-z]", code) is not None
    if code in UNKNOWN or word in UNKNOWN or is_private or len(code) not in (2, 3):
        return None
    if not langcodes.tag_is_valid(code):
        return None
    return "-".join([ALIASES.get(code, code), *rest])


def language_code(tag: str | None) -> str | None:
    """The language of a tag, without script and region. None if the tag is empty or names no single language.

    ``en-US`` gives ``en``, and ``zho_Hant`` gives ``zh``.
    """
    standard = standard_tag(tag)
    return standard and standard.split("-")[0]
