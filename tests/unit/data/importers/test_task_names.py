"""The benchmark, language and subject in the names of tasks."""

import pytest

from polycal.data.importers.task_names import TaskName, language_of, recognise


@pytest.mark.parametrize(
    ("task", "benchmark", "language", "subject"),
    [
        ("global_mmlu_full_de_high_school_physics", "global-mmlu", "de", "high_school_physics"),
        ("global_mmlu_sw_business", "global-mmlu-lite", "sw", "business"),
        ("mmlu_prox_de_law", "mmlu-prox", "de", "law"),
        ("mmlu_prox_lite_yo_computer_science", "mmlu-prox-lite", "yo", "computer_science"),
        ("belebele_deu_Latn", "belebele", "de", None),
        ("belebele_zho_Hans", "belebele", "zh", None),
        ("belebele_zho_Hant", "belebele", "zh-Hant", None),
        ("belebele_urd_Latn", "belebele", "ur-Latn", None),
        ("belebele_arz_Arab", "belebele", "arz", None),
        ("belebele_kor_Hang", "belebele", "ko", None),
        ("belebele_hau_prompt_2", "belebele-prompt-2", "ha", None),
        ("m_mmlu_de", "m-mmlu", "de", None),
        ("xcopa_et", "xcopa", "et", None),
        ("arc_uk", "arc", "uk", None),
        ("arc_easy", "arc-easy", "en", None),
        ("truthfulqa_vi_mc1", "truthfulqa-mc1", "vi", None),
        ("include_base_44_albanian_social_science", "include-base-44", "sq", "social_science"),
        ("include_base_44_greek_few_shot_en_stem", "include-base-44-few-shot-en", "el", "stem"),
        ("mlmm_mmlu_fra_mcf:virology", "mlmm-mmlu", "fr", "virology"),
        ("global_mmlu_all_zho_cf:law", "global-mmlu", "zh", "law"),
        ("global_mmlu_cs_deu_mcf:law", "global-mmlu-cs", "de", "law"),
        ("belebele_fin_Latn_hybrid", "belebele-hybrid", "fi", None),
    ],
)
def test_known_names(task: str, benchmark: str, language: str, subject: str | None) -> None:
    assert recognise(task) == TaskName(benchmark, language, subject)


@pytest.mark.parametrize(
    "task", ["gsm8k", "mmlu_law", "my_task_de", "afrixnli_en_direct_amh", "xnli_va", "arc", "belebele"]
)
def test_names_without_a_known_language(task: str) -> None:
    assert recognise(task) is None


def test_the_usual_script_of_a_language_is_removed_from_a_tag() -> None:
    assert [language_of(tag) for tag in ("srp_Cyrl", "srp_Latn", "pt_BR", "easy", "de_law")] == [
        "sr",
        "sr-Latn",
        "pt-BR",
        None,
        None,
    ]
