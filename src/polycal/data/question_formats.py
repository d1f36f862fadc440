"""Convert rows of MMLU-ProX, Global-MMLU or a user's own file into questions.

MMLU-ProX (li-lab/MMLU-ProX and its Lite variant) has three to ten options in the columns ``option_0`` to
``option_9``. Columns of missing options are null or ``N/A``. Global-MMLU (CohereLabs/Global-MMLU and its Lite
variant) has four options in ``option_a`` to ``option_d``. In both, ``answer`` is the letter of the right
option. ``answer_index`` of MMLU-ProX is not read.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from polycal.artifacts.records import RecordError
from polycal.data import json_values, text_content
from polycal.data.placeholders import LeftOut, without_placeholders
from polycal.data.question_languages import NumberedRows
from polycal.data.readers import DatasetSplit, Row
from polycal.vocabulary import LETTERS

Question = dict[str, Any]
"""A row of the schema ``records.QUESTION``."""


class HubFormat(NamedTuple):
    """The columns of a benchmark on the hub, and the role (test or examples) of each of its splits."""

    id_column: str
    group_column: str
    option_columns: list[str]
    splits: dict[str, str]
    has_placeholders: bool


HUB_FORMATS = {
    "mmlu-prox": HubFormat(
        "question_id",
        "category",
        [f"option_{number}" for number in range(10)],
        {"test": "test", "validation": "examples"},
        True,
    ),
    "global-mmlu": HubFormat(
        "sample_id",
        "subject",
        [f"option_{letter}" for letter in "abcd"],
        {"test": "test", "dev": "examples"},
        False,
    ),
}
OWN_COLUMNS = ["question_id", "question", "options"]
"""Columns that a user's file must have, together with ``answer`` or ``gold``."""


def hub_questions(
    split: DatasetSplit, role: str, name: str, dropped: list[dict[str, str]], left_out: LeftOut
) -> Iterator[Question]:
    """The questions of a split in the benchmark format ``name``, with the columns of ``records.QUESTION``.

    A question with an empty option before its last option is malformed. It is not returned, but appended to
    ``dropped`` (question_id, reason). Placeholders are removed from the options and counted in ``left_out``.
    Raises RecordError, with the row, for values that the format does not allow.
    """
    id_column, group_column, option_columns, _, has_placeholders = HUB_FORMATS[name]
    seen: dict[str, str] = {}
    for where, row in split.numbered([id_column, group_column, "question", *option_columns, "answer"]):
        question_id = read_id(row, id_column, where, seen)
        options = [_optional_text(row, column, where) for column in option_columns]
        filled = [option for option in options if option is not None]
        last = max((number + 1 for number, option in enumerate(options) if option is not None), default=0)
        # In Global-MMLU an empty option at the end is malformed too, because every question has four options.
        if len(filled) < (len(options) if name == "global-mmlu" else last):
            empty_column = option_columns[options.index(None)]
            dropped.append({"question_id": question_id, "reason": f"{empty_column} is empty"})
            continue
        real, gold = _at_least_two(filled, where), _gold_from_letter(row["answer"], len(filled), where)
        if has_placeholders:
            real, gold = without_placeholders(filled, gold, where)
            left_out[role, question_id] = len(filled) - len(real)
        yield {
            "question_id": question_id,
            "group": read_text(row, group_column, where),
            "question": read_text(row, "question", where),
            "options": _at_least_two(real, where),
            "gold": gold,
            "split": role,
        }


def own_questions(rows: NumberedRows, left_out: LeftOut) -> Iterator[Question]:
    """The questions of a user's file, with the columns of ``records.QUESTION``.

    ``rows`` must have OWN_COLUMNS, and ``gold`` (the index of the right option, from 0) or ``answer`` (its
    letter). If both are given they must agree. The columns ``group`` (default: all) and ``split`` (default:
    test) may be missing. In csv, ``options`` is a JSON list. Placeholders are removed from the options and
    counted in ``left_out``. Raises RecordError, with the row, for values that are not allowed.
    """
    seen: dict[str, dict[str, str]] = {"test": {}, "examples": {}}
    for where, row in rows:
        role = read_role(row, where)
        question_id = read_id(row, "question_id", where, seen[role])
        all_options = _options(row["options"], where)
        options, gold = without_placeholders(all_options, _own_gold(row, all_options, where), where)
        left_out[role, question_id] = len(all_options) - len(options)
        yield {
            "question_id": question_id,
            "group": read_text(row, "group", where) if row.get("group") is not None else "all",
            "question": read_text(row, "question", where),
            "options": _at_least_two(options, where),
            "gold": gold,
            "split": role,
        }


def read_role(row: Row, where: str) -> str:
    """The split of a question, by default test. Raises RecordError if it is neither test nor examples."""
    role = row.get("split")
    role = "test" if role is None or role == "" else role
    if role not in ("test", "examples"):
        raise RecordError(f"{where}: split is {role!r}; must be 'test' or 'examples'.")
    return str(role)


def _own_gold(row: Row, options: list[str], where: str) -> int:
    """The index of the right option.

    Raises RecordError if ``gold`` and ``answer`` are missing or disagree.
    """
    gold, answer = (_none_if_empty(row.get(column)) for column in ("gold", "answer"))
    if gold is None and answer is None:
        raise RecordError(f"{where}: neither 'gold' (a number from 0) nor 'answer' (a letter) is given.")
    if gold is None:
        return _gold_from_letter(answer, len(options), where)
    index = _gold_from_number(gold, len(options), where)
    if answer is not None and not _agrees(answer, index, options):
        raise RecordError(
            f"{where}: gold is {gold!r} ({LETTERS[index]}), but answer is {answer!r}; both must name the same"
            " option."
        )
    return index


def _none_if_empty(value: Any) -> Any:
    """The value of a cell, or None if it is an empty text, which some formats write for a missing value."""
    return None if isinstance(value, str) and not value.strip() else value


def _agrees(answer: Any, gold: int, options: list[str]) -> bool:
    """Whether ``answer`` is the letter of the option ``gold``.

    If it is not a letter, it may be its text or index.
    """
    text = str(answer).strip()
    if len(text) == 1 and text in LETTERS[: len(options)]:
        return LETTERS.index(text) == gold
    return options.index(text) == gold if text in options else text == str(gold)


def read_id(row: Mapping[str, Any], column: str, where: str, seen: dict[str, str]) -> str:
    """The id as a text. It is added to ``seen`` with its row. Raises RecordError if ``seen`` contains it."""
    value = row[column]
    if isinstance(value, bool) or not isinstance(value, (int, str)) or text_content.is_blank(str(value)):
        raise RecordError(f"{where}: {column} is {value!r}; must be a whole number or a text.")
    _require_unicode(str(value), column, where)
    if first := seen.get(str(value)):
        raise RecordError(f"{where}: {column} {value!r} is already in {first}; ids must be unique.")
    seen[str(value)] = where.rpartition(": ")[2]
    return str(value)


def _optional_text(row: Mapping[str, Any], column: str, where: str) -> str | None:
    """A text without surrounding white space, or None if it contains no visible character."""
    value = row[column]
    if value is None or (isinstance(value, str) and text_content.is_blank(value)):
        return None
    if not isinstance(value, str):
        raise RecordError(f"{where}: {column} is {value!r} ({type(value).__name__}); must be a text.")
    _require_unicode(value, column, where)
    return value.strip()


def _require_unicode(text: str, column: str, where: str) -> None:
    """Raise RecordError if a text cannot be written as UTF-8."""
    if not text_content.is_unicode(text):
        raise RecordError(f"{where}: {column} is {text!r}, with half a surrogate pair; must be Unicode text.")


def read_text(row: Mapping[str, Any], column: str, where: str) -> str:
    """A text as in ``_optional_text``. Raises RecordError if it is empty."""
    text = _optional_text(row, column, where)
    if text is None:
        raise RecordError(f"{where}: {column} is empty; must be a text.")
    return text


def _gold_from_letter(answer: Any, options: int, where: str) -> int:
    """The index of the option with the letter ``answer``. Raises RecordError if there is none."""
    letter = answer.strip() if isinstance(answer, str) else answer
    allowed = LETTERS[:options]
    if not isinstance(letter, str) or len(letter) != 1 or letter not in allowed:
        raise RecordError(
            f"{where}: answer is {answer!r}; with {options} options it must be one of the letters"
            f" {', '.join(allowed)}."
        )
    return allowed.index(letter)


def _gold_from_number(value: Any, options: int, where: str) -> int:
    """``value`` as an integer. Raises RecordError if it is not the index of an option."""
    text = str(value).strip()
    if isinstance(value, bool) or not text.isdecimal() or int(text) >= options:
        raise RecordError(f"{where}: gold is {value!r}; must be a whole number from 0 to {options - 1}.")
    return int(text)


def _options(value: Any, where: str) -> list[str]:
    """The options in a list or JSON list. Raises RecordError if it is not a list of at least two texts."""
    return _at_least_two(read_texts(value, "options", "an option", where), where)


def read_texts(value: Any, column: str, member: str, where: str) -> list[str]:
    """The texts in a list or JSON list, without surrounding white space.

    ``member`` is what one of them is called. Raises RecordError if it is not a list of texts.
    """
    if isinstance(value, str):
        try:
            value = json_values.parse(value)
        except ValueError as error:
            raise RecordError(f"{where}: {column} is not a JSON list: {error}.") from error
    if not isinstance(value, list) or not all(
        isinstance(text, str) and not text_content.is_blank(text) for text in value
    ):
        raise RecordError(f"{where}: {column} is {value!r}; must be a list of texts, none of them empty.")
    for text in value:
        _require_unicode(text, member, where)
    return [text.strip() for text in value]


def _at_least_two(options: list[str], where: str) -> list[str]:
    """``options``. Raises RecordError if there are fewer than two."""
    if len(options) < 2:
        raise RecordError(f"{where}: {len(options)} option(s); a question needs at least two.")
    return options
