"""P(True): the wording, the closed form, and records against float64 with one sequence per answer."""

import numpy as np
import pytest
from helpers import models as tiny
from helpers.multiple_choice import EXAMPLES, TESTS, cell, reference
from helpers.stamps import FixedStamp

from polycal.analysis import score_arrays
from polycal.artifacts import candidate_forms, records
from polycal.scoring import multiple_choice, prompts, true_or_false
from polycal.scoring.chat_turns import user_turn
from polycal.vocabulary import CELL_KEYS

QUESTION = {
    "question_id": "q",
    "group": "g",
    "question": " What is it? ",
    "options": ["tree", "no "],
    "gold": 1,
}
LETTERS, WORDS = candidate_forms.P_TRUE


def test_the_wording_is_fixed():
    assert prompts.VERSION == "1"
    prompt = true_or_false.build_prompt(QUESTION, [], LETTERS)
    assert prompt.prefix == "What is it?\nProposed answer:"
    assert prompt.candidates[:4] == (
        " tree\nIs the proposed answer:\nA. True\nB. False\nAnswer: A",
        " tree\nIs the proposed answer:\nA. True\nB. False\nAnswer: B",
        " tree\nIs the proposed answer:\nA. False\nB. True\nAnswer: B",
        " tree\nIs the proposed answer:\nA. False\nB. True\nAnswer: A",
    )
    words = true_or_false.build_prompt(QUESTION, [], WORDS)
    assert words.candidates[4:] == (
        " no\nIs the proposed answer true or false?\nAnswer: true",
        " no\nIs the proposed answer true or false?\nAnswer: false",
        " no\nIs the proposed answer false or true?\nAnswer: true",
        " no\nIs the proposed answer false or true?\nAnswer: false",
    )


def test_in_a_chat_format_the_answer_begins_the_assistants_turn():
    prompt = true_or_false.build_prompt(QUESTION, [], WORDS, user_turn("tulu"))
    assert prompt.prefix == "<|user|>\nWhat is it?\nProposed answer:"
    assert prompt.candidates[0] == (
        " tree\nIs the proposed answer true or false?\nAnswer:\n<|assistant|>\ntrue"
    )


def test_examples_propose_right_and_wrong_options_in_both_orders():
    examples = [{**QUESTION, "question": str(number)} for number in range(4)]
    solved = true_or_false.build_prompt(QUESTION, examples, LETTERS).examples
    assert solved[0] == "0\nProposed answer: no\nIs the proposed answer:\nA. True\nB. False\nAnswer: A\n\n"
    assert solved[1] == "1\nProposed answer: tree\nIs the proposed answer:\nA. True\nB. False\nAnswer: B\n\n"
    assert solved[2].endswith(" no\nIs the proposed answer:\nA. False\nB. True\nAnswer: B\n\n")
    assert solved[3].endswith(" tree\nIs the proposed answer:\nA. False\nB. True\nAnswer: A\n\n")


def test_p_true_in_closed_form():
    truth, bias = np.array([0.9, 0.3, 0.02]), 1.5
    logprob = []
    for number, share in enumerate(truth):
        for sign in (1, -1):  # the bias is towards the answer that is named first
            yes = np.log(share) + sign * bias
            # What both answers share, such as the likelihood of the option itself, cancels.
            logprob += [yes - 40 * number, np.log(1 - share) - 40 * number]
    mean, spread = true_or_false.p_true(logprob)
    odds = truth / (1 - truth) * np.exp([[bias], [-bias]])
    orders = odds / (1 + odds)
    assert np.exp(mean) == pytest.approx(orders.mean(0), abs=1e-14)
    assert spread == pytest.approx((np.abs(orders - orders.mean(0))).mean(), abs=1e-14)


def test_pmi_takes_off_what_a_model_prefers_without_a_question():
    truth = np.array([0.9, 0.3, 0.02])
    likes_true, likes_first = 2.5, -0.7
    preferred = np.array([likes_true + likes_first, likes_true - likes_first])  # by the order
    logprob = [
        value
        for share in truth
        for bias in preferred
        for value in (np.log(share) + bias - 30, np.log(1 - share) - 30)
    ]
    content_free = [value for bias in preferred for value in (bias - 9, -9.0)]
    corrected, spread = true_or_false.p_true(logprob, content_free)
    assert np.exp(corrected) == pytest.approx(truth, abs=1e-13)
    assert spread == pytest.approx(0, abs=1e-13)
    assert (np.exp(true_or_false.p_true(logprob)[0]) > truth).all()
    # A model without a preference is not changed at all.
    same = true_or_false.p_true(logprob, [-1.0] * 4)
    assert np.array_equal(same[0], true_or_false.p_true(logprob)[0])


def test_a_model_without_a_preference_for_an_order_gives_its_own_probability():
    truth = [0.75, 0.5, 1e-9]
    logprob = [np.log(value) for share in truth for _ in range(2) for value in (share, 1 - share)]
    mean, spread = true_or_false.p_true(logprob)
    assert np.exp(mean) == pytest.approx(truth, rel=1e-12)
    assert spread == pytest.approx(0.0, abs=1e-15)
    assert np.isfinite(true_or_false.p_true([-3000.0, 0.0, -3000.0, 0.0])[0]).all()


def score(folder, questions, out, form, num_fewshot, attention, budget=None, **settings):
    names = cell(form, num_fewshot, attention) | {
        key: "none" for key in CELL_KEYS if key not in ("model", "language")
    }
    names["settings"] |= settings
    multiple_choice.score(
        [names], model=folder, questions=[questions], out=[out], stamps=[FixedStamp()], token_budget=budget
    )
    return records.read_scores(out).to_pylist()


def in_float64(folder, asked):
    """log p(true) − log p(false) of each option in each order, one sequence for each answer."""
    odds = []
    for first in range(0, len(asked.candidates), 2):
        pair = asked.candidates[first : first + 2]
        answers = [text.rpartition(" ")[2] for text in pair]
        whole = asked.prefix + pair[0].rpartition(" ")[0]
        yes, no = reference(folder, prompts.Prompt((), whole, tuple(f" {text}" for text in answers)))
        odds.append(yes - no)
    return np.array(odds).reshape(-1, 2)


@pytest.mark.parametrize("num_fewshot", [0, 2])
@pytest.mark.parametrize("form", candidate_forms.P_TRUE)
@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_records_against_float64(folders, questions, tmp_path, architecture, form, num_fewshot):
    attention = "eager" if architecture == "gemma2" else "sdpa"
    folder = folders[architecture]
    rows = score(folder, questions, tmp_path / "s", form, num_fewshot, attention)
    examples = prompts.fewshot_examples(EXAMPLES, "g", num_fewshot)
    for row, question in list(zip(rows, TESTS, strict=True))[:2]:
        odds = in_float64(folder, true_or_false.build_prompt(question, examples, form))
        orders = 1 / (1 + np.exp(-odds))
        assert np.exp(row["option_logprob"]) == pytest.approx(orders.mean(1), abs=1e-4)
        assert row["option_bytes"] == [len(option.encode()) for option in question["options"]]
        assert row["option_tokens"] is None
    spread = score_arrays.read(tmp_path / "s").order_spread
    assert spread[1] == pytest.approx(np.abs(orders[:, 0] - orders[:, 1]).mean() / 2, abs=1e-4)


def test_records_with_pmi_against_float64(folders, questions, tmp_path):
    folder = folders["llama"]
    rows = score(folder, questions, tmp_path / "s", LETTERS, 2, "sdpa", pmi=True)
    assert records.UNCONDITIONAL not in rows[0]
    examples = prompts.fewshot_examples(EXAMPLES, "g", 2)
    content_free = true_or_false.content_free_prompt(examples, LETTERS)
    assert content_free.prefix.endswith("\n\nProposed answer:")
    assert content_free.candidates[0] == "\nIs the proposed answer:\nA. True\nB. False\nAnswer: A"
    taken_off = in_float64(folder, content_free)
    assert np.abs(taken_off).max() > 1e-3
    question = true_or_false.build_prompt(TESTS[0], examples, LETTERS)
    orders = 1 / (1 + np.exp(taken_off - in_float64(folder, question)))
    assert np.exp(rows[0]["option_logprob"]) == pytest.approx(orders.mean(1), abs=1e-4)
    assert score_arrays.read(tmp_path / "s").normalisations(["sum"]) == ["sum"]


def test_the_batch_does_not_change_p_true(folders, questions, tmp_path):
    one = score(folders["llama"], questions, tmp_path / "a", WORDS, 0, "sdpa", 1)
    many = score(folders["llama"], questions, tmp_path / "b", WORDS, 0, "sdpa", 10**5)
    for a, b in zip(one, many, strict=True):
        assert a["option_logprob"] == pytest.approx(b["option_logprob"], abs=1e-5)
