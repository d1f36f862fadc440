import pytest

from polycal.scoring import prompts

QUESTION = {"question_id": "q", "question": " Was? ", "options": ["ja", "nein"], "gold": 0}


def test_the_local_frame_puts_a_languages_own_labels_around_the_question():
    shown = prompts.prompt(QUESTION, [QUESTION], "letters", prompts.labels("local", "de"))
    assert shown.question == "Frage: Was?\nA. ja\nB. nein\nAntwort:"
    assert shown.examples == (f"{shown.question} A\n\n",)
    assert prompts.ask(QUESTION, "texts", prompts.labels("english", "de")) == "Was?\nAnswer:"


def test_every_language_of_mmlu_prox_has_labels_and_others_are_refused():
    assert len(prompts.LABELS) == 29
    assert all(question and answer for question, answer in prompts.LABELS.values())
    with pytest.raises(prompts.PromptError, match="no labels for language 'xx'"):
        prompts.labels("local", "xx")
