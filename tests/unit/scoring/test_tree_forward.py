"""Trees that are packed into one row give the results of the same trees in padded rows."""

import pytest
from helpers.multiple_choice import cell

from polycal.scoring import models, token_trees, tree_forward
from polycal.scoring.candidate_scores import score_candidates
from polycal.scoring.candidates import Candidate
from polycal.scoring.question_prompts import build_prompts


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-14), ("bfloat16", 4e-3)])
@pytest.mark.parametrize("num_fewshot", [0, 2])
def test_packed_trees_give_the_results_of_padded_rows(
    folders, questions, monkeypatch, dtype, tolerance, num_fewshot
):
    model, tokenizer = models.load(folders["llama"], dtype, "sdpa", "cpu")
    _, prompts = build_prompts(cell("texts", num_fewshot), questions)
    calls = []
    for name in ("packed_forward", "padded_forward"):
        original = getattr(tree_forward, name)

        def recorded(*args, name=name, original=original, **options):
            calls.append(name)
            return original(*args, **options)

        monkeypatch.setattr(tree_forward, name, recorded)
    packed = score_candidates(model, tokenizer, prompts, 300)
    assert set(calls) == {"packed_forward"}
    calls.clear()
    monkeypatch.setattr(tree_forward, "prefers_packed", lambda *args: False)
    padded = score_candidates(model, tokenizer, prompts, 300)
    assert set(calls) == {"padded_forward"}
    assert model.config._attn_implementation == "sdpa"
    for a, b in zip(packed.logprob, padded.logprob, strict=True):
        assert a == pytest.approx(b, rel=tolerance)


def sequence(length):
    """A tree of ``length - 1`` nodes without a branch."""
    return token_trees.build_tree([Candidate(0, 0, list(range(length)), 1)])


def test_trees_are_packed_only_if_the_window_covers_every_path(folders):
    for architecture, attention, packed in (
        ("llama", "sdpa", True),
        ("llama", "eager", False),
        ("mistral", "sdpa", True),
        ("gemma2", "eager", False),
    ):
        model, _ = models.load(folders[architecture], "float32", attention, "cpu")
        assert tree_forward.prefers_packed(model, [sequence(11)]) is packed
    mistral, _ = models.load(folders["mistral"], "float32", "sdpa", "cpu")
    # With a window of 16 the sixteenth node attends to the first one, but the seventeenth does not.
    assert tree_forward.prefers_packed(mistral, [sequence(17)])
    assert not tree_forward.prefers_packed(mistral, [sequence(18)])
