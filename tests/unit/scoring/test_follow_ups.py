"""Follow-ups about the chosen option: the wording, and records against float64 with one sequence per answer."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers import models as tiny
from helpers.multiple_choice import EXAMPLES, TESTS, reference
from helpers.multiple_choice import score_all_columns as score

from polycal.artifacts import follow_ups as columns
from polycal.artifacts import records
from polycal.artifacts.candidate_forms import LEVEL_VALUES
from polycal.data.token_ids import Encoder
from polycal.scoring import (
    candidate_check,
    candidate_scores,
    follow_ups,
    models,
    plain_forward,
    prompts,
    self_check,
    token_trees,
)
from polycal.scoring.candidates import Candidate
from polycal.scoring.chat_turns import user_turn
from polycal.scoring.confidence_labels import CONFIDENCE
from polycal.scoring.prompt_labels import LABELS
from polycal.scoring.prompts import PromptError

FORMS = ("levels", "true_letters", "true_words")


def texts_after(form, before):
    """Pairs of a text and its answers, written out for each form."""
    if form == "levels":
        yield f"{before}\nConfidence:", [f" {level}%" for level in range(0, 101, 10)]
    for first, second, answers in (("True", "False", "AB"), ("False", "True", "BA")):
        if form == "true_letters":
            asked = f"\nIs the proposed answer:\nA. {first}\nB. {second}\nAnswer:"
            yield before + asked, [f" {answer}" for answer in answers]
        elif form == "true_words":
            asked = f"\nIs the proposed answer {first.lower()} or {second.lower()}?\nAnswer:"
            yield before + asked, [" true", " false"]


@pytest.mark.parametrize("num_fewshot", [0, 3])
@pytest.mark.parametrize(
    ("form", "candidates"), [("levels", "texts"), ("levels", "letters"), ("true_words", "texts")]
)
@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_records_against_float64(folders, questions, tmp_path, architecture, form, candidates, num_fewshot):
    attention, folder = "eager" if architecture == "gemma2" else "sdpa", folders[architecture]
    plain = score(folder, questions, tmp_path / "plain", candidates, num_fewshot, None, attention)
    rows = score(folder, questions, tmp_path / "s", candidates, num_fewshot, None, attention, follow_up=form)
    examples = prompts.fewshot_examples(EXAMPLES, "g", num_fewshot)
    for row, question in list(zip(rows, TESTS, strict=True))[1:3]:
        prompt = prompts.build_prompt(question, examples, candidates)
        per_token = np.array(row["option_logprob"])
        if candidates == "texts":
            per_token = per_token / row["option_tokens"]
        assert row["asked_option"] == per_token.argmax()
        before = prompt.prefix + prompt.candidates[row["asked_option"]]
        expected = []
        for text, answers in texts_after(form, before):
            expected += reference(folder, prompts.Prompt((), text, tuple(answers)))
        assert row["follow_up_logprob"] == pytest.approx(expected, abs=1e-3)
    names = [field.name for field in columns.FIELDS]
    assert [{key: row[key] for key in row if key not in names} for row in rows] == plain
    found = columns.read(tmp_path / "s", form)
    assert found.option.tolist() == [row["asked_option"] for row in rows]
    if form == "levels":
        share = np.exp(found.logprob) / np.exp(found.logprob).sum(1, keepdims=True)
        assert found.expected_level() == pytest.approx(share @ np.array(LEVEL_VALUES) / 100, abs=1e-12)
        assert found.mass() == pytest.approx(np.exp(found.logprob).sum(1), abs=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_no_path_and_no_batch_changes_an_answer(folders, questions, tmp_path, form, monkeypatch):
    def found(out, budget=None):
        rows = score(folders["llama"], questions, tmp_path / out, "letters", 3, budget, follow_up=form)
        return [row["asked_option"] for row in rows], [row["follow_up_logprob"] for row in rows]

    options, expected = found("a")
    for out, budget in (("b", 1), ("c", 10**5)):
        again = found(out, budget)
        assert again[0] == options
        assert np.array(again[1]) == pytest.approx(np.array(expected), abs=1e-4)
    for path in (plain_forward.PLAIN, plain_forward.SINGLE):
        chosen = self_check.SelfCheck(path, 0.0, 1.0, 0, 0, 0.0, {})
        monkeypatch.setattr(candidate_check, "check", lambda *_, chosen=chosen: chosen)
        again = found(path)
        assert again[0] == options
        assert np.array(again[1]) == pytest.approx(np.array(expected), abs=1e-4)


def test_the_question_is_read_once(folders, questions, tmp_path):
    for options in (False, True):
        asked = {"follow_up": "levels"} if options else {}
        score(folders["llama"], questions, tmp_path / str(options), "letters", 0, None, **asked)
    plain, more = (records.metadata(tmp_path / str(options))["tokens"] for options in (False, True))
    # The tokens are bytes: the letter, "\nConfidence: ", then "0%" to "90%" and "100%" without their last byte.
    longest = len("X\nConfidence: ") + 10 + 9 + 1
    assert plain < more <= plain + len(TESTS) * longest


def test_in_a_chat_format_the_follow_up_is_part_of_the_users_turn(folders, questions, tmp_path):
    turn = user_turn("tulu")
    asked = follow_ups.follow_up({"follow_up": "levels", "candidates": "letters"}, "en", turn)
    rows = score(
        folders["llama"], questions, tmp_path / "s", "letters", follow_up="levels", chat_template="tulu"
    )
    prompt = prompts.build_prompt(TESTS[1], [], "letters", turn=turn)
    option = rows[1]["asked_option"]
    body = prompt.prefix.removesuffix(turn.closing)
    text = f"{body} {'ABCDEFGHIJ'[option]}\nConfidence:{turn.closing}"
    levels = tuple(f"{level}%" for level in LEVEL_VALUES)
    expected = reference(folders["llama"], prompts.Prompt((), text, levels))
    assert rows[1]["follow_up_logprob"] == pytest.approx(expected, abs=1e-3)
    assert asked.asked[0][1] == levels


def test_the_word_is_that_of_the_language_if_the_prompt_is():
    settings = {"follow_up": "levels", "candidates": "letters", "prompt_language": "local"}
    assert set(CONFIDENCE) == set(LABELS)
    assert follow_ups.follow_up(settings, "de").asked[0][0] == "\nSicherheit:"
    assert (
        follow_ups.follow_up({**settings, "prompt_language": "english"}, "de").asked[0][0] == "\nConfidence:"
    )
    with pytest.raises(PromptError, match="no word for confidence in language 'xx'"):
        follow_ups.follow_up(settings, "xx")
    assert follow_ups.follow_up({"candidates": "letters"}, "de") is None


def test_the_choice_is_that_of_the_normalisation():
    options = ([-3.0, -4.0, -9.0], [1, 2, 9], [" a", " bcd", " efghi"])
    for normalise, chosen in (("sum", 0), ("token", 2), ("byte", 1)):
        settings = {"follow_up": "levels", "candidates": "letters", "normalise": normalise}
        assert follow_ups.follow_up(settings, "en").choose(*options) == chosen
    assert follow_ups.follow_up({"follow_up": "levels", "candidates": "texts"}, "en").choose(*options) == 2


def test_a_path_is_found_whatever_branches_are_before_it():
    def tree(*sequences, start):
        return token_trees.build_tree(
            Candidate(0, number, list(tokens), start) for number, tokens in enumerate(sequences)
        )

    earlier = tree([1, 2, 3, 4], [1, 2, 5, 6, 7], [1, 2, 5, 8, 9], start=2)
    later = tree([1, 2, 5, 8, 9, 0, 1], [1, 2, 5, 8, 9, 0, 2], start=6)
    nodes = token_trees.shared_path(token_trees.NO_PREFIX, earlier, later)
    assert earlier.tokens[nodes].tolist() == [1, 2, 5, 8]
    after = token_trees.shared_path(np.array([1]), earlier.drop_prefix(1), later)
    assert earlier.drop_prefix(1).tokens[after].tolist() == [2, 5, 8]
    assert token_trees.shared_path(np.array([7]), earlier.drop_prefix(1), later) == []


def test_a_window_that_is_too_short_for_the_follow_up_drops_examples(questions, tmp_path):
    folder = tiny.save("llama", tmp_path / "short", window=200)
    _, tokenizer = models.load(folder, "float32", "sdpa", "cpu")
    asked = follow_ups.follow_up({"follow_up": "true_letters", "candidates": "letters"}, "en")
    assert asked.longest(Encoder(tokenizer)) > 50
    score(folder, questions, tmp_path / "plain", "letters", 3)
    score(folder, questions, tmp_path / "more", "letters", 3, follow_up="true_letters")
    cut = [records.metadata(tmp_path / name)["prompts_cut"] for name in ("plain", "more")]
    assert cut[0] <= cut[1]
    assert all(
        np.isfinite(row["follow_up_logprob"]).all() for row in records.whole(tmp_path / "more").to_pylist()
    )


def test_a_record_without_follow_ups_is_refused_in_one_sentence(folders, questions, tmp_path):
    score(folders["llama"], questions, tmp_path / "s", "letters")
    with pytest.raises(
        records.RecordError, match="asks for the follow-up 'levels', but column 'asked_option'"
    ):
        columns.read(tmp_path / "s", "levels")
    score(folders["llama"], questions, tmp_path / "s", "letters", follow_up="true_words")
    with pytest.raises(records.RecordError, match="has not 11 finite numbers"):
        columns.read(tmp_path / "s", "levels")
    assert columns.read(tmp_path / "s", None) is None
    assert "asked_option" in pq.read_schema(tmp_path / "s").names


def test_p_true_is_the_mean_over_both_orders():
    logprob = np.log([[0.6, 0.2, 0.3, 0.3]])
    found = columns.FollowUps("true_words", np.array([0]), logprob)
    assert found.p_true() == pytest.approx([(0.75 + 0.5) / 2], abs=1e-14)


def test_scores_without_a_follow_up_have_none(folders):
    model, tokenizer = models.load(folders["llama"], "float32", "sdpa", "cpu")
    prompt = prompts.build_prompt(TESTS[0], [], "letters")
    assert candidate_scores.score_candidates(model, tokenizer, [prompt]).follow_ups == []
