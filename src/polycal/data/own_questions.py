"""Read a user's file of questions in one language, which need not belong to a benchmark."""

from pathlib import Path

import pyarrow as pa

from polycal.artifacts import records
from polycal.artifacts.records import RecordError
from polycal.data import question_formats, question_languages, readers
from polycal.data.placeholders import LeftOut
from polycal.data.question_formats import Question


def read(path: Path, left_out: LeftOut | None = None, language: str | None = None) -> list[Question]:
    """The questions of a parquet, csv, jsonl or json file, with the splits test and examples.

    The columns are those of ``question_formats.own_questions``. Placeholders are removed from the options and
    counted in ``left_out``. If ``language`` is given, only its rows are used. A question record of polycal is
    also read, without regard to ``left_out`` and ``language``. Raises RecordError, with file and row, for
    values that are not allowed, for a file in several languages if ``language`` is not given, and for a file
    without questions.
    """
    if records.is_record(path):
        return records.read_questions(path)
    split = readers.read_file(path)
    columns = [*question_formats.OWN_COLUMNS, *([] if language is None else ["language"])]
    rows = list(split.numbered(columns))
    if language is not None:
        rows = list(question_languages.of_language(rows, language, split.name))
    languages = {question_languages.spelling(row["language"]) or "''" for _, row in rows if "language" in row}
    if len(languages) > 1:
        raise RecordError(
            f"{path}: contains questions in {', '.join(sorted(languages))}; must contain one language, or name the"
            " one to use."
        )
    questions = list(question_formats.own_questions(rows, {} if left_out is None else left_out))
    if not questions:
        raise RecordError(f"{path}: contains no question; at least one is needed.")
    records.check_questions(questions, path)
    return questions


def content(path: Path) -> str:
    """The checksum of the questions that ``read`` returns. It does not depend on the format of the file."""
    if records.is_record(path):
        return str(records.metadata(path)["content"])
    return records.checksum(pa.Table.from_pylist(read(path), schema=records.QUESTION))
