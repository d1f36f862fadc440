"""Language tags of data sets are converted to BCP 47."""

import pytest

from polycal.data import language_tags


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("English", "en"),
        ("en", "en"),
        ("EN", "en"),
        ("eng", "en"),
        ("eng_Latn", "en"),
        ("en-US", "en"),
        ("en-UK", "en"),
        ("en_US.UTF-8", "en"),
        ("pt_BR", "pt"),
        ("deu", "de"),
        ("ger", "de"),
        ("deu_Latn", "de"),
        ("zh-Hant", "zh"),
        ("zho_Hans", "zh"),
        ("cmn", "zh"),
        ("arb_Arab", "ar"),
        ("ary_Arab", "ary"),
        ("swh_Latn", "sw"),
        ("npi_Deva", "ne"),
        ("khk_Cyrl", "mn"),
        ("pes_Arab", "fa"),
        ("plt_Latn", "mg"),
        ("zsm_Latn", "ms"),
        ("ind_Latn", "id"),
        ("twi_Latn", "tw"),
        ("iw", "he"),
        ("in", "id"),
        ("jw", "jv"),
        ("tl", "fil"),
        ("no", "nb"),
        ("nob_Latn", "nb"),
        ("nno", "nn"),
        ("hrv", "hr"),
        ("srp_Cyrl", "sr"),
        ("sh", "sr"),
        ("zh-cmn-Hans", "zh"),
        ("Yoruba", "yo"),
        (" hausa ", "ha"),
        ("fr ", "fr"),
        ("ace", "ace"),
    ],
)
def test_tags_of_every_standard_give_one_code(tag: str, code: str) -> None:
    assert language_tags.language_code(tag) == code


@pytest.mark.parametrize(
    "tag",
    [
        *(
            "",
            None,
            " ",
            "unk",
            "UNK",
            "mul",
            "und",
            "zxx",
            "mis",
            "nan",
            "xx",
            "xyz",
            "qaa",
            "x-own",
            "root",
        ),
        *("Klingon", "unknown", "other", "none", "null", "N/A", "n/a", "42", "-", "python", "en, de", "e"),
    ],
)
def test_a_tag_that_names_no_single_language_is_unknown(tag: str | None) -> None:
    assert language_tags.language_code(tag) is None
    assert language_tags.standard_tag(tag) is None


def test_standard_tags_contain_script_and_region() -> None:
    assert [language_tags.standard_tag(tag) for tag in ("zho_Hant", "pt_br", "ENG_latn", "sr-Latn")] == [
        "zh-Hant",
        "pt-BR",
        "en",
        "sr-Latn",
    ]
