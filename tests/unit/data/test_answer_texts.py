"""When two spellings are the same answer, in several languages and scripts."""

import pytest

from polycal.data.answer_texts import matches, normalised

SAME = [
    # case, width, composed letters, invisible characters, white space
    ("en", "PARIS", "Paris"),
    ("de", "STRASSE", "Straße"),
    ("el", "ΟΔΟΣ", "οδος"),
    ("fr", "Côte d’Ivoire", "Co\u0302te d'Ivoire"),
    ("ja", "ＮＨＫ", "nhk"),
    ("ja", "ﾄﾞﾙ", "ドル"),
    ("zh", "１２３ ４", "1234"),
    ("zh_cn", "纽 约", "纽约"),
    ("th", "บาท ไทย", "บาทไทย"),
    ("en", "New\u00a0York\u200b", "new  york"),
    # Turkish and Azerbaijani
    ("tr", "IRAK", "ırak"),
    ("tr", "İran", "iran"),
    ("tr", "TÜRKİYE", "türkiye"),
    # marks and letters of the Arabic and Hebrew scripts
    ("ar", "مُحَمَّد", "محمد"),
    ("ar", "مصـــر", "مصر"),
    ("ar", "أوروبا", "اوروبا"),
    ("fa", "آسياي", "آسیای"),
    ("ur", "كراچي", "کراچی"),
    ("he", "יִשְׂרָאֵל", "ישראל"),
    # digits and numbers
    ("hi", "१२३४५", "12345"),
    ("ar", "٣٫٥", "3.5"),
    ("bn", "১২,০০,০০০", "1200000"),
    ("en", "1,234,567", "1234567"),
    ("en", "5.0", "5"),
    ("en", "2.50", "2.5"),
    ("de", "1.234.567,50", "1234567.5"),
    ("fr", "12 000", "12000"),
    ("hi", "१२,३४,५६७", "1234567"),
    ("en", "−5", "-5"),
    # articles at the beginning
    ("en", "The Netherlands", "Netherlands"),
    ("en", "\u201cThe Wall\u201d", "\u201cThe Wall\u201d."),
    ("de", "die Schweiz", "Schweiz"),
    ("de", "Der Rhein", "rhein"),
    ("fr", "l’Allemagne", "Allemagne"),
    ("it", "L'Italia", "italia"),
    ("es", "El Salvador", "Salvador"),
    ("pt", "o Brasil", "Brasil"),
    ("hu", "az Egyesült Államok", "Egyesült Államok"),
    ("sv", "en krona", "krona"),
    # punctuation
    ("en", "U.S.", "U S"),
    ("de", "Neuseeland-Dollar", "Neuseeland Dollar."),
    ("es", "¿Madrid?", "Madrid"),
    ("hi", "दिल्ली।", "दिल्ली"),
    ("ar", "القاهرة؟", "القاهرة"),
    ("zh", "北京。", "《北京》"),
    ("am", "አዲስ፡አበባ።", "አዲስ አበባ"),
    ("en", "(Rome)", "Rome"),
]
DIFFERENT = [
    ("en", "IRAK", "ırak"),  # only in Turkish
    ("en", "5", "-5"),
    ("en", "1914-1918", "19141918"),
    ("en", "3.5", "35"),
    ("en", "5%", "5"),
    ("en", "$5", "€5"),
    ("en", "C", "C++"),
    ("en", "C", "C#"),
    ("de", "1.234", "1.234,5"),
    ("en", "1.234", "1234"),
    ("yo", "owó", "òwò"),
    ("vi", "ma", "má"),
    ("hi", "कल", "काल"),
    ("ar", "الكتاب", "كتاب"),  # the article is part of the word
    ("en", "Bank of the West", "Bank of West"),  # an article inside a name stays
    ("en", "theatre", "atre"),
    ("en", "Anna", "na"),
    ("zh", "台湾", "臺灣"),  # simplified and traditional characters stay apart
    ("en", "U.S. dollars", "U.S. dollar"),  # a plural is another name
]


@pytest.mark.parametrize(("language", "one", "other"), SAME)
def test_spellings_of_one_answer_are_equal(language: str, one: str, other: str) -> None:
    assert normalised(one, language) == normalised(other, language) != ""
    assert matches(one, ["something else", other], language)
    assert normalised(normalised(one, language), language) == normalised(one, language)


@pytest.mark.parametrize(("language", "one", "other"), DIFFERENT)
def test_different_answers_stay_different(language: str, one: str, other: str) -> None:
    assert normalised(one, language) != normalised(other, language)


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "The", "the"),
        ("en", "the !", "the"),
        ("en", "!?", "!?"),
        ("pt", "A", "a"),
        ("en", " \u200b ", ""),
        ("en", "", ""),
    ],
)
def test_nothing_visible_becomes_empty(language: str, text: str, expected: str) -> None:
    assert normalised(text, language) == expected


def test_an_empty_answer_is_never_right() -> None:
    assert not matches("", ["", "a"], "en")
    assert not matches("\u200b", ["\u200b"], "en")
