"""Shared few-shot examples are processed once, and batches become smaller when memory runs out."""

import pytest
import torch
from helpers import models as tiny
from helpers.multiple_choice import score

from polycal.artifacts import records
from polycal.scoring import candidate_scores, log_likelihoods, token_trees, tree_forward


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_examples_of_a_group_are_processed_once_without_changing_the_scores(
    folders, questions, tmp_path, architecture, monkeypatch
):
    prefixes, original = [], candidate_scores.PrefixCache

    def counted(model, tokens):
        prefixes.append(len(tokens))
        return original(model, tokens)

    monkeypatch.setattr(candidate_scores, "PrefixCache", counted)
    attention = "eager" if architecture == "gemma2" else "sdpa"
    shared = score(folders[architecture], questions, tmp_path / "s", "texts", 2, None, attention)
    # One is that of the self-check, the other that of the run.
    assert len(prefixes) == 2
    assert min(prefixes) > token_trees.MIN_SHARED_PREFIX
    monkeypatch.setattr(tree_forward, "supports_trees", lambda model: False)
    plain = score(folders[architecture], questions, tmp_path / "p", "texts", 2, None, attention)
    assert len(prefixes) == 2
    for a, b in zip(shared, plain, strict=True):
        assert a["option_logprob"] == pytest.approx(b["option_logprob"], abs=1e-4)
        assert a["option_tokens"] == b["option_tokens"]
    shared_tokens, plain_tokens = (records.metadata(tmp_path / name)["tokens"] for name in "sp")
    assert shared_tokens < plain_tokens / 2


def test_the_budget_halves_when_memory_runs_out(folders, questions, tmp_path, monkeypatch):
    expected = score(folders["llama"], questions, tmp_path / "a", "texts", 0, 2048)
    original, sizes = log_likelihoods.log_likelihoods, []

    def with_little_memory(model, batch, prefix=None):
        sizes.append(len(batch) * max(map(len, batch)))
        if sizes[-1] > 150:
            raise torch.OutOfMemoryError("full")
        return original(model, batch, prefix)

    monkeypatch.setattr(log_likelihoods, "log_likelihoods", with_little_memory)
    scores = score(folders["llama"], questions, tmp_path / "b", "texts", 0, 2048)
    assert max(sizes) > 150 >= sizes[-1]
    facts = records.metadata(tmp_path / "b")
    assert facts["token_budget"] < 2048
    assert facts["self_check"]["path"] == "fast"
    for a, b in zip(expected, scores, strict=True):
        assert a["option_logprob"] == pytest.approx(b["option_logprob"], abs=1e-4)
