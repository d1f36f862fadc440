"""Normalise short answers, so that equal answers in different spellings become equal texts.

The rule follows the exact match of SQuAD (Rajpurkar et al. 2016, arXiv 1606.05250) and of MKQA (Longpre et al. 2021,
arXiv 2007.15207), with Unicode's definitions of case, digits and punctuation in place of those of English.
"""

import re
import unicodedata
from collections.abc import Iterable

ARTICLES = {
    "af": ("die",),
    "da": ("en", "et", "den", "det", "de"),
    "de": ("der", "die", "das", "den", "dem", "des", "ein", "eine", "einen", "einem", "einer", "eines"),
    "el": (
        "ο",
        "η",
        "το",
        "οι",
        "τα",
        "τον",
        "την",
        "του",
        "της",
        "των",
        "τουσ",
        "τισ",
        "ένασ",
        "μια",
        "ένα",
    ),
    "en": ("the", "a", "an"),
    "es": ("el", "la", "los", "las", "un", "una", "unos", "unas"),
    "fil": ("ang", "ng"),
    "fr": ("le", "la", "les", "l'", "un", "une", "des"),
    "hu": ("a", "az", "egy"),
    "it": ("il", "lo", "la", "l'", "i", "gli", "le", "un", "un'", "uno", "una"),
    "nl": ("de", "het", "een"),
    "no": ("en", "ei", "et", "den", "det", "de"),
    "pt": ("o", "a", "os", "as", "um", "uma", "uns", "umas"),
    "ro": ("un", "o", "niște"),
    "sv": ("en", "ett", "den", "det", "de"),
}
"""Articles that are words of their own, by language, in folded case."""
DOTTED_I = ("az", "tr")
"""Languages in which I is the capital of ı, and İ that of i."""
UNSPACED = ("ja", "km", "lo", "my", "th", "zh")
"""Languages that are written without spaces between words."""
DECIMAL_COMMA = (
    "af", "az", "cs", "da", "de", "el", "es", "fi", "fr", "hu", "id", "it", "ky", "lt", "nl", "no", "pl", "pt", "ro", "ru", "sr", "sv", "tr", "uk", "vi", "wo",
)  # fmt: skip
"""Languages with a comma before the fraction of a number, and a dot or a space between thousands."""
ARABIC_MARKS = re.compile("[\u0640\u064b-\u0652\u0670]")
"""Vowel marks, which writers usually leave out, and the tatweel, which only makes a word longer."""
HEBREW_MARKS = re.compile("[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7]")
PERSIAN_LETTERS = str.maketrans({"ي": "ی", "ى": "ی", "ك": "ک"})
"""Letters that keyboards of Arabic write for those of Persian and Urdu."""
ALEF = str.maketrans(dict.fromkeys("أإآٱ", "ا"))
"""Alef with a sign that Arabic writers often leave out."""
SIGNS = str.maketrans({**dict.fromkeys("’ʼ‘ʻ`´", "'"), "−": "-", "٬": ",", "٫": "."})
KEPT = "%‰°#+'"
"""Signs that are part of an answer, besides those of currencies and of mathematics."""


def normalised(text: str, language: str) -> str:
    """An answer in a form in which equal answers are equal texts. ``language`` is a code such as de or zh_cn.

    The steps are:

    1. Unicode NFKC, so that widths, ligatures and composed letters have one form. Invisible characters are removed.
    2. Case folding. I and İ follow the rule of Turkish and Azerbaijani in these languages.
    3. Vowel marks of the Arabic and Hebrew scripts and the tatweel are removed, and some Arabic letters have one form
       (see PERSIAN_LETTERS and ALEF). Marks of all other scripts stay, because they distinguish words.
    4. Decimal digits of all scripts become 0 to 9. Separators of thousands and zeros at the end of a fraction are
       removed. A fraction begins with a dot.
    5. An article at the beginning is removed. Articles that are written as part of a word stay.
    6. Punctuation and symbols become spaces, except signs of numbers, currencies, %, °, # and +.
    7. Spaces become single ones, and none in languages that are written without them.

    Steps 5 and 6 are left out where nothing would remain. So a text is empty only if it has no visible character.
    """
    code = re.split("[-_]", language)[0].lower()
    found = unicodedata.normalize("NFKC", text.translate(SIGNS))
    found = "".join(character for character in found if unicodedata.category(character) != "Cf")
    found = _unmarked(_folded(found, code), code)
    digits = (str(unicodedata.decimal(one)) if one.isdecimal() else one for one in found)
    found = _numbers("".join(digits), code).strip()
    found = _without_article(found, code)
    found = _without_punctuation(found).strip() or found
    return ("" if code in UNSPACED else " ").join(found.split())


def matches(answer: str, accepted: Iterable[str], language: str) -> bool:
    """Whether an answer is one of the accepted ones after normalisation. An empty answer is none of them."""
    found = normalised(answer, language)
    return bool(found) and found in {normalised(one, language) for one in accepted}


def _folded(text: str, code: str) -> str:
    if code in DOTTED_I:
        text = text.replace("I", "ı").replace("İ", "i")
    # Folding can decompose a letter, so the text is composed again.
    return unicodedata.normalize("NFKC", text.casefold())


def _unmarked(text: str, code: str) -> str:
    text = ARABIC_MARKS.sub("", HEBREW_MARKS.sub("", text))
    return (
        text.translate(ALEF)
        if code == "ar"
        else text.translate(PERSIAN_LETTERS)
        if code in ("fa", "ur")
        else text
    )


def _numbers(text: str, code: str) -> str:
    """Numbers with a dot before the fraction, without separators of thousands and without needless zeros."""
    thousands, fraction = (r"[. ']", ",") if code in DECIMAL_COMMA else (r"[, ']", ".")
    # Indian numbers have groups of two digits before the last three.
    grouped = rf"(?<![\d.,])\d{{1,3}}(?:{thousands}\d{{2,3}})*{thousands}\d{{3}}(?!\d)"
    text = re.sub(grouped, lambda match: re.sub(r"\D", "", match[0]), text)
    text = re.sub(rf"(?<=\d){re.escape(fraction)}(?=\d)", ".", text)
    return re.sub(r"(?<![\d.])(\d+)\.(\d*?)0+(?![\d.])", _fraction, text)


def _fraction(match: re.Match[str]) -> str:
    return f"{match[1]}.{match[2]}" if match[2] else match[1]


def _without_article(text: str, code: str) -> str:
    """The text without an article at its beginning, which may follow a quotation mark."""
    start = next((place for place in range(len(text)) if not _is_blank(text, place)), 0)
    text = text[start:]
    for article in ARTICLES.get(code, ()):
        rest = text.removeprefix(article)
        if (
            rest != text
            and (article.endswith("'") or rest[:1].isspace())
            and _without_punctuation(rest).strip()
        ):
            return rest
    return text


def _without_punctuation(text: str) -> str:
    kept = (" " if _is_blank(text, place) else one for place, one in enumerate(text))
    return "".join(kept).replace("'", " ")


def _is_blank(text: str, place: int) -> bool:
    """Whether the character at a place is white space or punctuation, and not part of a number."""
    character, before, after = text[place], text[place - 1 : place], text[place + 1 : place + 2]
    if character == ".":
        return not (before.isdecimal() and after.isdecimal())
    if character == "-":
        return not after.isdecimal() or before.isalnum()
    category = unicodedata.category(character)
    return character.isspace() or (
        category[0] in "PS" and category not in ("Sc", "Sm") and character not in KEPT
    )
