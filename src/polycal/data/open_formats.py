"""Convert rows of MKQA, or of a user's own file, into questions without options.

MKQA (Multilingual Knowledge Questions and Answers) is a benchmark of 10,000 questions of Google's users in 26
languages, most of them with accepted short answers (Longpre et al. 2021, arXiv 2007.15207; github.com/apple/ml-mkqa,
apple/mkqa on the hub). It has one row for each question in all languages: ``example_id``, ``queries`` with the text in
each language, and ``answers`` with a list of answers in each language, each with ``type``, ``text`` and ``aliases``. On
the hub, the type is a number.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from polycal.artifacts.records import RecordError
from polycal.data import id_samples, text_content
from polycal.data.question_formats import Question, read_id, read_role, read_text, read_texts
from polycal.data.question_languages import NumberedRows

OWN_COLUMNS = ["question_id", "question", "answers"]
"""Columns that a user's file must have."""
MKQA_COLUMNS = ["example_id", "queries", "answers"]
MKQA_TYPES = (
    "entity",
    "long_answer",
    "unanswerable",
    "date",
    "number",
    "number_with_unit",
    "short_phrase",
    "binary",
)
"""The types of answers, in the order of their numbers on the hub."""
WITHOUT_ANSWER = ("long_answer", "unanswerable")
"""Types of questions that have no short answer."""
MKQA_NAMES = {"zh": "zh_cn"}
"""Languages that MKQA names in another way."""
MKQA_EXAMPLES = 5
"""Few-shot examples of each type: MKQA has a single split."""


def own_questions(rows: NumberedRows) -> Iterator[Question]:
    """The questions of a user's file, with the columns of ``open_records.OPEN_QUESTION``.

    ``rows`` must have OWN_COLUMNS. ``answers`` is a list of texts, in csv a JSON list. The columns ``group``
    (default: all) and ``split`` (default: test) may be missing. Raises RecordError, with the row, for values that
    are not allowed, and for a question without an accepted answer.
    """
    seen: dict[str, dict[str, str]] = {"test": {}, "examples": {}}
    for where, row in rows:
        role = read_role(row, where)
        answers = read_texts(row["answers"], "answers", "an answer", where)
        if not answers:
            raise RecordError(f"{where}: answers is empty; a question needs at least one accepted answer.")
        yield {
            "question_id": read_id(row, "question_id", where, seen[role]),
            "group": read_text(row, "group", where) if row.get("group") is not None else "all",
            "question": read_text(row, "question", where),
            "answers": list(dict.fromkeys(answers)),
            "split": role,
        }


def mkqa_questions(
    rows: NumberedRows, language: str, dropped: dict[str, list[dict[str, str]]]
) -> list[Question]:
    """The questions of MKQA in one language, with the columns of ``open_records.OPEN_QUESTION``.

    The group is the type of the English answer. MKQA_EXAMPLES questions of each type (``id_samples``) are examples,
    the same in every language. Questions without a short answer, or without one in this language, are appended to
    ``dropped`` (by split: question_id, reason). Raises RecordError, with the row, for values that the format does
    not allow.
    """
    name, seen = MKQA_NAMES.get(language, language), dict[str, str]()
    found: list[tuple[str, str, Question | None]] = []
    unanswerable: list[dict[str, str]] = []
    for where, row in rows:
        question_id = read_id(row, "example_id", where, seen)
        kind = _type(_of_language(row["answers"], "en", "answers", where), where)
        if kind in WITHOUT_ANSWER:
            unanswerable.append({"question_id": question_id, "reason": f"its type is {kind}"})
            continue
        texts = _answer_texts(_of_language(row["answers"], name, "answers", where))
        query = _of_language(row["queries"], name, "queries", where)
        question = read_text({"queries": query}, "queries", where)
        of_language: Question = {
            "question_id": question_id,
            "group": kind,
            "question": question,
            "answers": texts,
        }
        found.append((question_id, kind, of_language if texts else None))
    examples = _examples((question_id, kind) for question_id, kind, _ in found)
    questions = []
    dropped["test"] += unanswerable
    for question_id, _, one in found:
        role = "examples" if question_id in examples else "test"
        if one is None:
            dropped[role].append({"question_id": question_id, "reason": f"no answer in {language}"})
        else:
            questions.append({**one, "split": role})
    return questions


def _of_language(by_language: Any, name: str, column: str, where: str) -> Any:
    """The value of a language. Raises RecordError if there is none."""
    if not isinstance(by_language, Mapping) or name not in by_language:
        known = ", ".join(sorted(by_language)) if isinstance(by_language, Mapping) else "none"
        raise RecordError(f"{where}: {column} has no language {name!r} (found {known}).")
    return by_language[name]


def _type(answers: Any, where: str) -> str:
    """The type of the first answer, which all answers of a question share."""
    value = answers[0].get("type") if answers else "unanswerable"
    kind = MKQA_TYPES[value] if isinstance(value, int) and 0 <= value < len(MKQA_TYPES) else value
    if kind not in MKQA_TYPES:
        raise RecordError(
            f"{where}: the type of an answer is {value!r}; must be one of {', '.join(MKQA_TYPES)}."
        )
    return str(kind)


def _answer_texts(answers: Iterable[Mapping[str, Any]]) -> list[str]:
    """The texts and aliases of all answers, each once."""
    texts = [text for answer in answers for text in [answer.get("text"), *(answer.get("aliases") or [])]]
    return list(dict.fromkeys(text.strip() for text in texts if text and not text_content.is_blank(text)))


def _examples(questions: Iterable[tuple[str, str]]) -> set[str]:
    """The ids of the few-shot examples, from (id, type) of all questions."""
    by_type: dict[str, list[str]] = {}
    for question_id, kind in questions:
        by_type.setdefault(kind, []).append(question_id)
    return {name for ids in by_type.values() for name in id_samples.sample(ids, MKQA_EXAMPLES)}
