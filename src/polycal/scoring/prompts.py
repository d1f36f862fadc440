"""How a question becomes a prefix and its candidates. A change of any wording here is a new VERSION.

The English frame is the one that lm-evaluation-harness uses for Global-MMLU: the question, the options with
their letters, and ``Answer:``. A candidate follows the prefix after one space. In a chat format all of it is one
user's turn, and the candidate is the assistant's, which begins without a space.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from polycal.data import chat_templates
from polycal.errors import PolycalError

VERSION = "1"
LETTERS = "ABCDEFGHIJ"

# (question, answer) by language of MMLU-ProX, for the localised frame. Not reviewed by speakers.
LABELS = {
    "af": ("Vraag", "Antwoord"),
    "ar": ("السؤال", "الإجابة"),
    "bn": ("প্রশ্ন", "উত্তর"),
    "cs": ("Otázka", "Odpověď"),
    "de": ("Frage", "Antwort"),
    "en": ("Question", "Answer"),
    "es": ("Pregunta", "Respuesta"),
    "fr": ("Question", "Réponse"),
    "hi": ("प्रश्न", "उत्तर"),
    "hu": ("Kérdés", "Válasz"),
    "id": ("Pertanyaan", "Jawaban"),
    "it": ("Domanda", "Risposta"),
    "ja": ("質問", "回答"),
    "ko": ("질문", "답변"),
    "mr": ("प्रश्न", "उत्तर"),
    "ne": ("प्रश्न", "उत्तर"),
    "pt": ("Pergunta", "Resposta"),
    "ru": ("Вопрос", "Ответ"),
    "sr": ("Питање", "Одговор"),
    "sw": ("Swali", "Jibu"),
    "te": ("ప్రశ్న", "సమాధానం"),
    "th": ("คำถาม", "คำตอบ"),
    "uk": ("Питання", "Відповідь"),
    "ur": ("سوال", "جواب"),
    "vi": ("Câu hỏi", "Trả lời"),
    "wo": ("Laaj", "Tontu"),
    "yo": ("Ìbéèrè", "Ìdáhùn"),
    "zh": ("问题", "答案"),
    "zu": ("Umbuzo", "Impendulo"),
}

Candidates = Literal["letters", "texts"]
Labels = tuple[str, str]
# The English frame names the answer only.
ENGLISH: Labels = ("", "Answer")
Question = Mapping[str, Any]


class PromptError(PolycalError):
    """A question that cannot be asked in the way that was chosen."""


@dataclass(frozen=True)
class Prompt:
    """``examples``, each ending in a blank line, then ``question``; ``candidates`` continue that text.

    ``opening`` comes before the examples, and stays where examples are cut.
    """

    examples: tuple[str, ...]
    question: str
    candidates: tuple[str, ...]
    opening: str = ""

    @property
    def prefix(self) -> str:
        """All that stands before a candidate."""
        return self.opening + "".join(self.examples) + self.question


def labels(frame: str, language: str) -> Labels:
    """Words around a question. Raises PromptError where the local frame has none for the language."""
    if frame == "english":
        return ENGLISH
    if language not in LABELS:
        raise PromptError(
            f"prompt_language 'local' has no labels for language {language!r}; known: {', '.join(sorted(LABELS))}"
        )
    return LABELS[language]


def ask(question: Question, candidates: Candidates, labels: Labels = ENGLISH) -> str:
    """One question as text, up to and with ``Answer:``. Raises PromptError for more options than letters."""
    lines = [(f"{labels[0]}: " if labels[0] else "") + question["question"].strip()]
    if candidates == "letters":
        if len(question["options"]) > len(LETTERS):
            raise PromptError(
                f"question {question['question_id']!r} has {len(question['options'])} options, but there are"
                f" {len(LETTERS)} letters; ask for texts instead"
            )
        lines += [f"{letter}. {option}" for letter, option in zip(LETTERS, question["options"], strict=False)]
    return "\n".join([*lines, f"{labels[1]}:"])


def answers(question: Question, candidates: Candidates) -> tuple[str, ...]:
    """The candidates of a question, each with the space that parts it from the prefix."""
    shown = LETTERS[: len(question["options"])] if candidates == "letters" else question["options"]
    return tuple(f" {text.strip()}" for text in shown)


def prompt(
    question: Question,
    examples: Sequence[Question],
    candidates: Candidates,
    labels: Labels = ENGLISH,
    chat_template: str | None = None,
) -> Prompt:
    """A question behind solved examples, in a chat format or plainly. Raises PromptError."""
    solved = tuple(f"{ask(e, candidates, labels)}{answers(e, candidates)[e['gold']]}\n\n" for e in examples)
    asked, shown = ask(question, candidates, labels), answers(question, candidates)
    if chat_template is None:
        return Prompt(solved, asked, shown)
    opening, closing = turn(chat_template)
    return Prompt(solved, asked + closing, tuple(text.lstrip() for text in shown), opening)


def neutral(labels: Labels = ENGLISH, chat_template: str | None = None) -> str:
    """A context that asks for an answer and holds no question, for PMI (Holtzman et al. 2021, as lighteval has it)."""
    opening, closing = turn(chat_template) if chat_template else ("", "")
    return f"{opening}{labels[1]}:{closing}"


@functools.cache
def turn(chat_template: str) -> tuple[str, str]:
    """What stands before and behind a user's turn, up to where the assistant begins.

    The tokenizer adds its own beginning-of-sequence. Raises PromptError for a format that does not exist.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    if chat_template not in chat_templates.TEMPLATES:
        known = ", ".join(sorted(chat_templates.TEMPLATES))
        raise PromptError(f"chat_template {chat_template!r} does not exist; known: {known}")
    words = "words"
    rendered: Any = render_jinja_template(
        conversations=[[{"role": "user", "content": words}]],
        chat_template=chat_templates.TEMPLATES[chat_template],
        add_generation_prompt=True,
    )
    opening, _, closing = rendered[0][0].partition(words)
    return opening, closing


def examples_of(pool: Sequence[Question], group: str, shots: int) -> list[Question]:
    """The first ``shots`` examples of a group, in the order of their ids.

    Raises PromptError where the group has fewer: questions of one group would then be asked unlike others.
    """
    found = sorted((e for e in pool if e["group"] == group), key=lambda e: str(e["question_id"]))
    if len(found) < shots:
        raise PromptError(
            f"group {group!r} has {len(found)} examples, but {shots} are asked for; lower num_fewshot or give more examples"
        )
    return found[:shots]
