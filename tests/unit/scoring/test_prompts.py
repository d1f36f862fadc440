import pytest

from polycal.scoring import prompts
from polycal.scoring.chat_turns import user_turn
from polycal.scoring.prompt_labels import LABELS

QUESTION = {"question_id": "q", "question": " Was? ", "options": ["ja", "nein"], "gold": 0}
TREE = {
    "question_id": "q0",
    "group": "g",
    "question": "What is it?",
    "options": ["tree", "a tree in the yard", "no"],
    "gold": 0,
}
SUMS = [
    {"question_id": "q4", "group": "g", "question": "One and one?", "options": ["two", "three"], "gold": 0},
    {"question_id": "q5", "group": "g", "question": "Two and two?", "options": ["four", "five"], "gold": 0},
]


def test_the_wording_of_a_prompt_is_fixed():
    assert prompts.VERSION == "1"
    prompt = prompts.build_prompt(TREE, SUMS[:1], "letters")
    assert prompt.prefix == (
        "One and one?\nA. two\nB. three\nAnswer: A\n\nWhat is it?\nA. tree\nB. a tree in the yard\nC. no\nAnswer:"
    )
    assert prompt.candidates == (" A", " B", " C")
    chinese = {"question": "这是什么？", "options": ["树", "房子"]}
    assert prompts.build_prompt(chinese, [], "texts") == prompts.Prompt(
        (), "这是什么？\nAnswer:", (" 树", " 房子")
    )


def test_a_localised_prompt_contains_the_labels_of_its_language():
    prompt = prompts.build_prompt(QUESTION, [QUESTION], "letters", prompts.labels_for("local", "de"))
    assert prompt.question == "Frage: Was?\nA. ja\nB. nein\nAntwort:"
    assert prompt.examples == (f"{prompt.question} A\n\n",)
    assert prompts.question_text(QUESTION, "texts", prompts.labels_for("english", "de")) == "Was?\nAnswer:"


def test_every_language_of_mmlu_prox_has_labels_and_others_are_refused():
    assert len(LABELS) == 29
    assert all(question and answer for question, answer in LABELS.values())
    with pytest.raises(prompts.PromptError, match="no labels for language 'xx'"):
        prompts.labels_for("local", "xx")


def test_in_a_chat_format_the_whole_prompt_is_one_turn():
    prompt = prompts.build_prompt(TREE, SUMS[:1], "letters", turn=user_turn("tulu"))
    assert prompt.prefix == (
        "<|user|>\nOne and one?\nA. two\nB. three\nAnswer: A\n\nWhat is it?\nA. tree\nB. a tree in the yard\n"
        "C. no\nAnswer:\n<|assistant|>\n"
    )
    assert prompt.candidates == ("A", "B", "C")
    with pytest.raises(prompts.PromptError, match="chat_template 'tolu' does not exist; known: tulu"):
        user_turn("tolu")


def test_the_neutral_context_contains_only_the_label_of_the_answer():
    assert prompts.neutral_context() == "Answer:"
    assert prompts.neutral_context(turn=user_turn("tulu")) == "<|user|>\nAnswer:\n<|assistant|>\n"
    assert prompts.neutral_context(prompts.labels_for("local", "de")) == "Antwort:"


def test_too_few_examples_and_too_many_options_are_refused():
    with pytest.raises(prompts.PromptError, match="has 2 examples, but num_fewshot is 5"):
        prompts.fewshot_examples(SUMS, "g", 5)
    many = {**TREE, "options": [str(n) for n in range(11)]}
    with pytest.raises(prompts.PromptError, match="11 options"):
        prompts.question_text(many, "letters")
