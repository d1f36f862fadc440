"""Families of causal language models: polycal's log-likelihoods against each model's own logits.

The models are tiny and random, and built from the configuration class of the family. If a tiny model cannot
be built, the test is skipped with the reason.
"""

import pytest
import torch
from helpers import families
from helpers import models as tiny
from helpers.families_scored import PROMPTS, own_log_likelihoods
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polycal.scoring import candidate_check, prompts
from polycal.scoring.candidate_scores import score_candidates

NAMES = """
afmoe apertus arcee aria_text axk1 bailing_hybrid bart bert bert-generation big_bird bigbird_pegasus
biogpt bitnet blenderbot blenderbot-small bloom camembert cohere cohere2 cohere2_moe ctrl cwm
data2vec-text deepseek_v2 deepseek_v3 deepseek_v4 diffllama doge dots1 electra emu3 ernie ernie4_5
exaone4 exaone_moe falcon_mamba flex_olmo flint fuyu gemma gemma2 gemma3 gemma3_text glm glm4
glm4_moe glm4_moe_lite got_ocr2 gpt-sw3 gpt2 gpt_bigcode gpt_neo gpt_neox gpt_neox_japanese gpt_oss
granite granitemoe granitemoeshared helium hunyuan_v1_dense hunyuan_v1_moe hy_v3 hyperclovax
internlm3 iquestcoder jais2 jamba jetmoe llama mistral mixtral qwen2 qwen3 qwen3_moe phi phi3 opt
olmo olmo2 olmoe stablelm starcoder2 smollm3
"""
FAMILIES = NAMES.split()
LEAST = 60
"""The number of families that must be compared. A version of transformers may lack the others."""
compared: dict[str, str] = {}
"""Family → path that the self-check chose."""


def largest_difference(actual, expected):
    return max(abs(a - b) for x, y in zip(actual, expected, strict=True) for a, b in zip(x, y, strict=True))


@pytest.mark.parametrize("name", FAMILIES)
def test_log_likelihoods_are_those_of_the_models_own_logits(name, capsys):
    try:
        model = families.build(name)
    except families.NotBuilt as reason:
        pytest.skip(f"{name}: no tiny model: {reason}")
    tokenizer = tiny.tokenizer()
    check = candidate_check.check(model, tokenizer, [PROMPTS])
    logprob = score_candidates(model, tokenizer, PROMPTS, path=check.path).logprob
    difference = largest_difference(logprob, own_log_likelihoods(model, tokenizer))
    compared[name] = check.path
    with capsys.disabled():
        print(f"{name}: {check.path}, largest difference {difference:.1e}", flush=True)
    assert difference < 1e-3
    assert check.max_difference <= check.tolerance


def test_enough_families_were_compared():
    if len(compared) + 1 < len(FAMILIES) // 2:
        pytest.skip("only some of the families were selected")
    assert len(compared) >= LEAST


SMALL = (
    *("llama", "gemma2", "granite", "gpt2", "qwen3_moe", "phi3", "cohere", "bloom"),
    *("gemma3", "stablelm", "opt", "gpt_neox", "olmoe", "falcon_mamba", "jamba", "deepseek_v3"),
)
"""Dense models, mixtures of experts, state-space models and composite models that can be built within a second."""
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=30).filter(
    lambda text: text.strip() == text
)


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(SMALL),
    seed=st.integers(0, 10**6),
    bos=st.booleans(),
    fallback=st.booleans(),
    questions=st.lists(st.tuples(TEXT, st.lists(TEXT, min_size=2, max_size=4)), min_size=1, max_size=4),
    form=st.sampled_from(["letters", "texts"]),
    shots=st.integers(0, 2),
)
def test_random_models_tokenizers_and_questions(name, seed, bos, fallback, questions, form, shots):
    model = families.build(name, seed)
    tokenizer = tiny.fallback(bos) if fallback else tiny.tokenizer(bos)
    rows = [
        {"question_id": str(number), "question": text, "options": options, "gold": 0}
        for number, (text, options) in enumerate(questions)
    ]
    built = [prompts.build_prompt(row, rows[:shots], form) for row in rows]
    # In the reference, a candidate begins where the prompt alone ends. So other prompts are skipped.
    for prompt in built:
        before, *sequences = tokenizer(
            [prompt.prefix, *(prompt.prefix + text for text in prompt.candidates)]
        )["input_ids"]
        if len(before) == 0 or any(ids[: len(before)] != before or len(ids) > 256 for ids in sequences):
            return
    check = candidate_check.check(model, tokenizer, [built])
    logprob = score_candidates(model, tokenizer, built, path=check.path).logprob
    with torch.inference_mode():
        assert largest_difference(logprob, own_log_likelihoods(model, tokenizer, built)) < 1e-3
