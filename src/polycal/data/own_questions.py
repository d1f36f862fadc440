"""A user's file of questions in one language, read without a benchmark around it."""

from pathlib import Path

import pyarrow as pa

from polycal.artifacts import records
from polycal.artifacts.records import RecordError
from polycal.data import question_formats, readers
from polycal.data.question_formats import Question
from polycal.data.readers import DatasetSplit


def read(path: Path) -> list[Question]:
    """The questions of a parquet, csv, jsonl or json file, test and examples, checked.

    The columns are those of ``question_formats.own_questions``. A question record of polycal is read as such.
    Raises RecordError, naming file and row, for values that are not allowed, for a file whose column
    ``language`` holds several languages, and for one without questions.
    """
    if records.is_record(path):
        return records.read_questions(path)
    split = readers.read_file(path)
    rows = list(split.rows)
    languages = {str(row["language"]) for row in rows if isinstance(row, dict) and "language" in row}
    if len(languages) > 1:
        raise RecordError(
            f"{path}: holds questions in {', '.join(sorted(languages))}; must hold one language."
        )
    whole = DatasetSplit(split.name, split.files, split.columns, iter(rows))
    questions = list(question_formats.own_questions(whole))
    if not questions:
        raise RecordError(f"{path}: holds no question; at least one is needed.")
    records.check_questions(questions, path)
    return questions


def content(path: Path) -> str:
    """The checksum of the questions that ``read`` gives, the same for every format of the file."""
    if records.is_record(path):
        return str(records.metadata(path)["content"])
    return records.checksum(pa.Table.from_pylist(read(path), schema=records.QUESTION))
