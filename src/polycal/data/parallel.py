"""Check that all languages of a benchmark ask the same questions."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from polycal.artifacts import files, open_records, records
from polycal.artifacts.manifests import Stamp
from polycal.artifacts.records import RecordError

ROLES = ("test", "examples")

Ids = dict[str, dict[str, set[str]]]
"""Question ids by language and split."""
Dropped = dict[str, dict[str, list[str]]]
"""Ids of dropped questions by language and split."""


def check_parallel(cell: Mapping[str, Any], *, questions: list[Path], out: Path, stamp: Stamp) -> None:
    """Check that the question records of a benchmark contain the same ids, and write the result to ``out``.

    ``cell`` names the benchmark; the check has no settings. Malformed questions that were dropped when a
    language was fetched count as present. The JSON file contains ``languages`` (their number), ``shared``
    (the number of test questions that no language dropped) and ``dropped`` (ids by language and split).
    Raises RecordError with the language and the first id that differs from the ids of most languages.
    """
    files.write_json(out, {**stamp(), **compare_ids(questions)})


def compare_ids(questions: Sequence[Path]) -> dict[str, Any]:
    """The result that ``check_parallel`` writes: languages, shared, dropped.

    Raises RecordError as it does.
    """
    ids, dropped = _ids(questions)
    # If a language differs, the ids of most languages are assumed to be right.
    expected = {
        role: Counter(frozenset(splits[role]) for splits in ids.values()).most_common(1)[0][0]
        for role in ROLES
    }
    for role in ROLES:
        for language, splits in ids.items():
            if different := sorted(splits[role] ^ expected[role]):
                problem = "is missing" if different[0] in expected[role] else "is in no other language"
                raise RecordError(
                    f"{language}: {role} question {different[0]!r} {problem} ({len(different)} differ); all"
                    " languages of a benchmark must contain the same question ids."
                )
    dropped_tests = {question for splits in dropped.values() for question in splits.get("test", [])}
    return {"languages": len(ids), "shared": len(expected["test"] - dropped_tests), "dropped": dropped}


def _ids(questions: Iterable[Path]) -> tuple[Ids, Dropped]:
    """All question ids, including the dropped ones, and the ids of the dropped questions alone."""
    ids: Ids = {}
    dropped: Dropped = {}
    for file in questions:
        metadata = records.metadata(file)
        language = metadata.get("language", Path(file).stem)
        dropped_ids = {
            role: [entry["question_id"] for entry in metadata.get("dropped", {}).get(role, [])]
            for role in ROLES
        }
        ids[language] = {role: set(dropped_ids[role]) for role in ROLES}
        read = records.read_questions if open_records.has_options(file) else open_records.read_questions
        for question in read(file):
            ids[language][question["split"]].add(question["question_id"])
        if any(dropped_ids.values()):
            dropped[language] = {role: of_role for role, of_role in dropped_ids.items() if of_role}
    return ids, dropped
