import pytest

from polycal.data import language_id

# One sentence in each of some languages of the benchmarks, mainly low-resource ones. They were written for
# this test.
SENTENCES = {
    "am": "እባክዎን ስለ ኢትዮጵያ ሕዝብ ታሪክ እና ቋንቋቸው ይንገሩኝ።",
    "ar": "من فضلك أخبرني عن تاريخ الناس ولغتهم.",
    "fa": "لطفاً درباره تاریخ مردم ایران و زبان آنها به من بگویید.",
    "fil": "Pakisabi sa akin ang tungkol sa kasaysayan ng mga Pilipino at ang kanilang wika.",
    "ha": "Ina kwana? Don Allah ka gaya mini game da tarihin mutanen Hausa a Najeriya.",
    "he": "בבקשה ספר לי על ההיסטוריה של העם ועל השפה שלו.",
    "id": "Tolong ceritakan kepada saya tentang sejarah bangsa Indonesia dan bahasanya.",
    "ig": "Kedu ka ị mere? Biko gwa m banyere akụkọ ihe mere eme nke ndị Igbo na Naịjirịa.",
    "ky": "Сураныч, кыргыз элинин тарыхы жана тили жөнүндө айтып бериңиз.",
    "mg": "Azafady mba lazao ahy ny tantaran'ny vahoaka Malagasy sy ny fiteniny.",
    "ms": "Sila beritahu saya tentang sejarah rakyat Malaysia dan bahasa mereka.",
    "ne": "कृपया मलाई नेपाली जनताको इतिहास र भाषाको बारेमा बताउनुहोस्।",
    "ny": "Chonde ndiuzeni za mbiri ya anthu a ku Malawi ndi chilankhulo chawo.",
    "si": "කරුණාකර ශ්‍රී ලංකාවේ ජනතාවගේ ඉතිහාසය ගැන මට කියන්න.",
    "sn": "Ndapota ndiudzeiwo nezve nhoroondo yevanhu veZimbabwe nemutauro wavo.",
    "so": "Fadlan ii sheeg taariikhda dadka Soomaaliyeed iyo luqaddooda.",
    "sw": "Tafadhali niambie kuhusu historia ya watu wa Afrika Mashariki na lugha yao.",
    "te": "దయచేసి తెలుగు ప్రజల చరిత్ర గురించి నాకు చెప్పండి.",
    "wo": "Ngir Yàlla wax ma ci jaar-jaaru askanu Senegaal ak seen làkk.",
    "yo": "Báwo ni? Mo fẹ́ kọ́ nípa ìtàn àwọn ọmọ Yorùbá ní ilẹ̀ Nàìjíríà.",
    "zh": "请告诉我中国人民的历史和他们的语言。",
}


@pytest.mark.parametrize("code", SENTENCES)
def test_one_sentence_is_enough(code: str) -> None:
    identified, share = language_id.identify([SENTENCES[code]])
    assert identified == code
    assert share > 0.8


def test_a_text_that_is_not_in_a_language_is_unknown() -> None:
    for text in ("", "42", "def f(x):\n    return x**2 + 1\nprint(f(3))", "\x00\x01", "😀" * 20):
        assert language_id.identify([text]) == (None, 0.0)
    assert language_id.identify([SENTENCES["yo"] + "\x00\ufffe", "\ud83d"])[0] == "yo"
