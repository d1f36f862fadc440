"""The self-check chooses a path through the model that gives the model's own numbers."""

import numpy as np
import pytest
import torch
from helpers import families
from helpers import models as tiny
from helpers.families_scored import PROMPTS, own_log_likelihoods
from helpers.multiple_choice import cell, score

from polycal.artifacts import records
from polycal.scoring import candidate_check, model_check, models, next_token, prompt_embeddings, self_check
from polycal.scoring.candidate_scores import score_candidates
from polycal.scoring.question_prompts import build_prompts

# granite scales its logits, gpt2 has other names for its layers, stablelm has its own attention, and gemma3
# has a nested configuration.
FAMILIES = {"granite": "plain", "gpt2": "plain", "stablelm": "plain", "gemma3": "fast", "llama": "fast"}


def assert_own(model, path=None):
    """Check that the self-check chooses ``path``, if given, and that the scores are those of the model's own logits."""
    tokenizer = tiny.tokenizer()
    check = candidate_check.check(model, tokenizer, [PROMPTS])
    assert path in (None, check.path), check
    logprob = score_candidates(model, tokenizer, PROMPTS, path=check.path).logprob
    for row, expected in zip(logprob, own_log_likelihoods(model, tokenizer), strict=True):
        assert row == pytest.approx(expected, abs=1e-3)
    return check


@pytest.mark.parametrize("name", FAMILIES)
def test_each_kind_of_family_is_scored_with_its_own_logits(name):
    check = assert_own(families.build(name), FAMILIES[name])
    assert check.max_difference <= check.tolerance < 1e-3
    assert set(check.because) == (set() if check.path == "fast" else {"fast"})


def test_a_change_of_the_logits_after_the_head_is_detected():
    """The forward pass itself is changed, and the configuration does not show it."""
    model = families.build("llama")
    original = model.forward

    def capped(*args, **kwargs):
        output = original(*args, **kwargs)
        output.logits = torch.tanh(output.logits / 3) * 3
        return output

    model.forward = capped
    assert "differs" in assert_own(model, "plain").because["fast"]


def test_a_model_that_depends_on_its_batch_is_run_one_row_at_a_time():
    model = families.build("llama")
    original = model.forward

    def batch_dependent(*args, **kwargs):
        output = original(*args, **kwargs)
        output.logits = output.logits * (0.5 / len(output.logits))
        return output

    model.forward = batch_dependent
    assert set(assert_own(model, "single").because) == {"fast", "plain"}


def test_rope_that_depends_on_the_longest_row_of_a_batch_is_detected():
    half = 8
    rope = {
        "rope_type": "longrope",
        "short_factor": [1.0] * half,
        "long_factor": [4.0] * half,
        "original_max_position_embeddings": 40,
        "rope_theta": 10000.0,
    }
    model = families.build("phi3", rope_parameters=rope, original_max_position_embeddings=40)
    assert_own(model, "single")


@pytest.mark.parametrize("path", ["fast", "plain", "single"])
def test_every_path_gives_the_same_numbers(folders, questions, path):
    model, tokenizer = models.load(folders["llama"], "float32", "sdpa", "cpu")
    _, prompts = build_prompts(cell("texts", 2), questions)
    values = score_candidates(model, tokenizer, prompts, path=path).logprob
    fast = score_candidates(model, tokenizer, prompts).logprob
    for row, expected in zip(values, fast, strict=True):
        assert row == pytest.approx(expected, abs=1e-4)


def test_a_model_whose_predictions_depend_on_later_tokens_is_refused():
    model = families.build("bert", is_decoder=False)
    with pytest.raises(
        self_check.SelfCheckError, match=r"^bert \(BertLMHeadModel\): the model's prediction after"
    ):
        candidate_check.check(model, tiny.tokenizer(), [PROMPTS])


def test_nan_and_a_failing_forward_are_refused_in_one_sentence():
    model = families.build("llama")
    model.lm_head.weight.data[5] = float("nan")
    with pytest.raises(self_check.SelfCheckError, match=r"log-probabilities are not a number"):
        candidate_check.check(model, tiny.tokenizer(), [PROMPTS])
    model.forward = None
    with pytest.raises(self_check.SelfCheckError, match=r"own forward pass fails \(TypeError: "):
        candidate_check.check(model, tiny.tokenizer(), [PROMPTS])


def test_the_check_changes_no_score_and_is_in_the_record(folders, questions, tmp_path, monkeypatch):
    checked = score(folders["llama"], questions, tmp_path / "a", "texts", 2, attention="sdpa")
    self_check_entry = records.metadata(tmp_path / "a")["self_check"]
    assert self_check_entry["path"] == "fast"
    assert 0 <= self_check_entry["max_difference"] <= self_check_entry["tolerance"]
    assert (self_check_entry["prompts"], self_check_entry["because"]) == (3, {})
    monkeypatch.setattr(candidate_check, "check", lambda *args: self_check.NOTHING)
    assert score(folders["llama"], questions, tmp_path / "b", "texts", 2, attention="sdpa") == checked


def test_the_tolerance_of_coarse_types_is_twice_the_models_own_difference(folders):
    model = families.build("llama").bfloat16()
    values = np.array([-1.0, -20.0])
    allowed = self_check.allowed_differences(model, values, values + np.array([0.0, 0.3]))
    assert allowed == pytest.approx([0.6, 0.6])
    assert self_check.allowed_differences(model, values, values)[0] == pytest.approx(4 * 2**-7)
    assert_own(families.build("granite").bfloat16(), "plain")


@pytest.mark.parametrize("name", ["gpt2", "granite", "llama"])
def test_embeddings_are_the_inputs_of_the_models_own_head(name):
    model, tokenizer = families.build(name), tiny.tokenizer()
    texts = ["short", "a longer prompt than that", "中文"]
    check = prompt_embeddings.check(model, tokenizer, texts, 256)
    assert check.path == ("plain" if name == "gpt2" else "fast")
    rows = tokenizer(texts)["input_ids"]
    for pooling in ("last", "mean"):
        vectors = prompt_embeddings.prompt_vectors(model, rows, pooling, path=check.path)
        for row, vector in zip(rows, vectors, strict=True):
            with torch.inference_mode():
                hidden = model(torch.tensor([row]), output_hidden_states=True).hidden_states[-1][0]
            expected = hidden[-1] if pooling == "last" else hidden.mean(0)
            assert vector == pytest.approx(expected.numpy(), abs=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "granite"])
def test_next_tokens_are_those_of_the_models_own_logits(name):
    model = families.build(name)
    rows = [
        (np.arange(3, 3 + length), np.arange(length) >= first) for length, first in ((5, 2), (40, 1), (9, 8))
    ]
    check = next_token.check(model, rows)
    assert check.path == "plain"
    columns = next_token.predictions(model, rows, path=check.path)
    expected = []
    for tokens, targets in rows:
        with torch.inference_mode():
            log_p = model(torch.tensor([tokens])).logits[0].log_softmax(-1)
        expected += [float(log_p[index - 1, tokens[index]]) for index in np.flatnonzero(targets)]
    assert columns["logprob"] == pytest.approx(expected, abs=1e-4)


def test_a_model_folder_is_checked_with_built_in_prompts(folders):
    name, results = model_check.check_model(folders["llama"], "float32", "sdpa")
    assert name == "llama (LlamaForCausalLM), float32, sdpa, cpu"
    assert {kind: result.path for kind, result in results.items()} == dict.fromkeys(
        ("candidates", "embeddings", "next tokens"), "fast"
    )
