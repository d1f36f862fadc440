import pytest
from helpers import models as tiny
from helpers import tokenizer_kinds as kinds
from helpers.multiple_choice import EXAMPLES, TESTS

from polycal.data.token_ids import Encoder
from polycal.scoring import candidates, prompts
from polycal.scoring.chat_turns import user_turn

TURNS = (None, user_turn("tulu"))


def tokenize(prompt, window):
    (tokenized,) = candidates.tokenize_prompts(tiny.tokenizer(), [prompt], window)
    return tokenized


def longest(prefix, texts):
    return max(len(tiny.tokenizer()(prefix + text)["input_ids"]) for text in texts)


def test_complete_examples_are_dropped_until_the_prompt_fits():
    prompt = prompts.build_prompt(TESTS[0], EXAMPLES[:2], "texts")
    window = longest(prompt.examples[1] + prompt.question, prompt.candidates)
    tokenized = tokenize(prompt, window)
    assert (tokenized.examples, tokenized.was_cut) == (prompt.examples[1], True)
    text = tiny.tokenizer().decode(list(tokenized.candidates[0].tokens[1:]))
    assert text == prompt.examples[1] + prompt.question + prompt.candidates[0]
    assert not tokenize(prompt, 10**6).was_cut
    with pytest.raises(candidates.ScoringError, match="window is 10"):
        tokenize(prompt, 10)


def test_the_opening_of_a_chat_turn_is_kept_when_examples_are_dropped():
    prompt = prompts.build_prompt(TESTS[0], EXAMPLES[:1], "letters", turn=user_turn("tulu"))
    tokenized = tokenize(prompt, longest(prompt.prefix, prompt.candidates) - 1)
    assert (tokenized.examples, tokenized.was_cut) == ("", True)
    text = tiny.tokenizer().decode(tokenized.candidates[0].tokens[1:])
    assert text.startswith("<|user|>\nWhat is it?")


def test_an_empty_candidate_is_refused():
    with pytest.raises(candidates.ScoringError, match="option 1: the prompt or the candidate has no token"):
        tokenize(prompts.Prompt((), "Why?", (" a", "")), 99)


def test_a_tokenizer_without_bos_scores_the_same_tokens():
    for bos in (True, False):
        (tokens,), start = candidates.tokenize_candidates(Encoder(tiny.tokenizer(bos)), "ab", [" c"])
        assert (len(tokens) - start, start) == (2, 2 + bos)


@pytest.mark.parametrize("family", kinds.FAMILIES)
@pytest.mark.parametrize("form", ["letters", "texts"])
def test_candidates_do_not_depend_on_the_tokens_that_a_tokenizer_adds_after_a_text(family, form):
    built = [prompts.build_prompt(test, EXAMPLES[:1], form, turn=turn) for test in TESTS for turn in TURNS]
    build = kinds.FAMILIES[family]
    for start, post_processors in (("<s> $A", kinds.WITH_BOS), ("$A", kinds.WITHOUT_BOS)):
        expected = list(candidates.tokenize_prompts(kinds.fast(build(kinds.template(start))), built, 10**6))
        assert all(1 not in c.tokens for prompt in expected for c in prompt.candidates)
        for post_processor in post_processors.values():
            tokenizer = kinds.fast(build(post_processor()))
            assert list(candidates.tokenize_prompts(tokenizer, built, 10**6)) == expected


def test_candidates_of_a_slow_tokenizer_are_those_of_its_bytes():
    prompt = prompts.build_prompt(TESTS[0], (), "texts")
    for adds_eos in (False, True):
        (tokenized,) = candidates.tokenize_prompts(kinds.SlowBytes(adds_eos), [prompt], 10**6)
        for candidate, text in zip(tokenized.candidates, prompt.candidates, strict=True):
            assert candidate.tokens == [256, *(prompt.prefix + text).encode()]
            assert len(candidate.tokens) - candidate.start == len(text.encode())
