"""Benchmarks as records of questions, from repositories in the hub's layout or from a user's own files."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polycal.artifacts import open_records, records
from polycal.artifacts.manifests import Stamp
from polycal.artifacts.records import RecordError
from polycal.data import (
    id_samples,
    open_formats,
    placeholders,
    question_formats,
    question_languages,
    readers,
    repositories,
    sources,
)
from polycal.data.open_format_names import FORMATS, OPEN
from polycal.data.placeholders import LeftOut
from polycal.data.question_formats import Question

Dropped = dict[str, list[dict[str, str]]]
"""Malformed questions (question_id, reason) by split."""


def fetch_benchmark(cell: Mapping[str, Any], *, out: Path, stamp: Stamp) -> None:
    """Write the questions of one language, with the splits test and examples, to ``out``.

    The settings are ``format`` and ``limit``, the number of test questions (None: all). The metadata contains
    the number of questions by split, the malformed questions that were dropped (id and reason), how many
    questions have how many options (or accepted answers, in formats without options), the number of placeholders
    that were removed by split, and the files that were read. Raises SourceError if the benchmark cannot be
    obtained, and RecordError, with file and row, if it does not have the columns and values of its format.
    """
    language, settings = cell["language"], cell["settings"]
    left_out: LeftOut = {}
    dropped: Dropped = {"test": [], "examples": []}
    is_open = settings["format"] in FORMATS
    if settings["format"] in ("file", OPEN):
        source = sources.data_path(cell["source"], language)
        root = _language_file(source, language)
        split = readers.read_file(root)
        of_one_language = root != source or root.stem == language or "{language}" in str(cell["source"])
        columns = open_formats.OWN_COLUMNS if is_open else question_formats.OWN_COLUMNS
        rows = _own_rows(split, language, not of_one_language, columns)
        questions = list(
            open_formats.own_questions(rows) if is_open else question_formats.own_questions(rows, left_out)
        )
        files = split.files
    elif is_open:
        root = sources.data_path(cell["source"])
        split = readers.read_file(root) if root.is_file() else _only_split(root)
        rows, files = split.numbered(open_formats.MKQA_COLUMNS), split.files
        questions = open_formats.mkqa_questions(rows, language, dropped)
    else:
        root = sources.data_path(cell["source"], language)
        questions, files, dropped = _from_repository(root, language, settings["format"], left_out)
    questions, dropped = _sample(questions, dropped, settings.get("limit"))
    if not any(question["split"] == "test" for question in questions):
        raise RecordError(f"{root} ({language}): no test question; a benchmark needs at least one.")
    listed = "answers" if is_open else "options"
    sizes = Counter(len(question[listed]) for question in questions)
    metadata = {
        **stamp(),
        "language": language,
        "source": dict(cell["source"]),
        "files": sources.checksums(files, root),
        "questions": dict(Counter(question["split"] for question in questions)),
        listed: {str(size): count for size, count in sorted(sizes.items())},
        "dropped": dropped,
        "placeholders": placeholders.counts(left_out, questions),
    }
    records.write(out, questions, open_records.OPEN_QUESTION if is_open else records.QUESTION, metadata)


def _own_rows(
    split: readers.DatasetSplit, language: str, is_shared: bool, columns: list[str]
) -> question_languages.NumberedRows:
    """The rows of one language in a user's file. ``is_shared``: the file contains several languages."""
    if is_shared:
        # Without the column, every language would silently get the same questions.
        return question_languages.of_language(split.numbered([*columns, "language"]), language, split.name)
    return question_languages.checked(split.numbered(columns), language)


def _only_split(root: Path) -> readers.DatasetSplit:
    """The only split of a repository in the layout of the hub. Raises RecordError if there are several."""
    splits = repositories.read_repository(root)
    if len(splits) != 1:
        raise RecordError(f"{root}: {len(splits)} splits ({', '.join(splits)}); must have one.")
    return next(iter(splits.values()))


def _from_repository(
    root: Path, language: str, format_name: str, left_out: LeftOut
) -> tuple[list[Question], list[Path], Dropped]:
    """Questions, files and dropped questions of the configuration ``language`` of a repository."""
    role_of_split = question_formats.HUB_FORMATS[format_name].splits
    splits = repositories.read_repository(root, language)
    if missing := set(role_of_split) - set(splits):
        raise RecordError(
            f"{root} ({language}): split {min(missing)!r} is missing (found {', '.join(splits) or 'none'})."
        )
    questions: list[Question] = []
    files: list[Path] = []
    dropped: Dropped = {"test": [], "examples": []}
    for name, role in role_of_split.items():
        files += splits[name].files
        questions += question_formats.hub_questions(splits[name], role, format_name, dropped[role], left_out)
    return questions, files, dropped


def _language_file(path: Path, language: str) -> Path:
    """The file of one language: the path with ``{language}`` replaced, a file in the folder, or the path itself."""
    if "{language}" in path.name:
        path = path.with_name(path.name.replace("{language}", language))
    if path.is_dir():
        names = [f"{language}{suffix}" for suffix in readers.SUFFIXES]
        present = [path / name for name in names if (path / name).is_file()]
        if len(present) != 1:
            data_files = sorted(file.name for file in path.iterdir() if file.suffix in readers.SUFFIXES)
            raise RecordError(
                f"{path}: {len(present)} files named {language!r}; exactly one of {', '.join(names)}"
                f" must exist (found {', '.join(data_files) or 'no data file'})."
            )
        path = present[0]
    if not path.is_file():
        raise RecordError(f"{path}: no such file; it must contain the questions in {language!r}.")
    return path


def _sample(questions: list[Question], dropped: Dropped, limit: int | None) -> tuple[list[Question], Dropped]:
    """A random sample of ``limit`` test questions (``id_samples``), and all examples.

    Dropped questions count as part of the sample.
    """
    if limit is None:
        return questions, dropped
    ids = {question["question_id"] for question in questions if question["split"] == "test"}
    ids |= {entry["question_id"] for entry in dropped["test"]}
    chosen = id_samples.sample(ids, limit)
    kept = [
        question for question in questions if question["split"] != "test" or question["question_id"] in chosen
    ]
    return kept, {**dropped, "test": [entry for entry in dropped["test"] if entry["question_id"] in chosen]}
