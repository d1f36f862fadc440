"""A user's file of questions in one language, read without a benchmark around it."""

from pathlib import Path

import pyarrow as pa

from polycal.artifacts import records
from polycal.artifacts.records import RecordError
from polycal.data import question_formats, question_languages, readers
from polycal.data.placeholders import LeftOut
from polycal.data.question_formats import Question


def read(path: Path, left_out: LeftOut | None = None, language: str | None = None) -> list[Question]:
    """The questions of a parquet, csv, jsonl or json file, test and examples, checked.

    The columns are those of ``question_formats.own_questions``. A question record of polycal is read as such.
    Placeholders among the options are left out and counted in ``left_out``. With a ``language`` only its rows
    are taken. Raises RecordError, naming file and row, for values that are not allowed, for a file whose column
    ``language`` holds several languages of which none is asked for, and for one without questions.
    """
    if records.is_record(path):
        return records.read_questions(path)
    split = readers.read_file(path)
    needed = [*question_formats.OWN_COLUMNS, *([] if language is None else ["language"])]
    rows = list(split.numbered(needed))
    if language is not None:
        rows = list(question_languages.of_language(rows, language, split.name))
    languages = {question_languages.spelling(row["language"]) or "''" for _, row in rows if "language" in row}
    if len(languages) > 1:
        raise RecordError(
            f"{path}: holds questions in {', '.join(sorted(languages))}; must hold one language, or one has to"
            " be named."
        )
    questions = list(question_formats.own_questions(rows, {} if left_out is None else left_out))
    if not questions:
        raise RecordError(f"{path}: holds no question; at least one is needed.")
    records.check_questions(questions, path)
    return questions


def content(path: Path) -> str:
    """The checksum of the questions that ``read`` gives, the same for every format of the file."""
    if records.is_record(path):
        return str(records.metadata(path)["content"])
    return records.checksum(pa.Table.from_pylist(read(path), schema=records.QUESTION))
