"""Whether the languages of a benchmark ask the same questions."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from polycal.artifacts import files, records
from polycal.artifacts.manifests import Stamp
from polycal.artifacts.records import RecordError

ROLES = ("test", "examples")

Ids = dict[str, dict[str, set[str]]]
Dropped = dict[str, dict[str, list[str]]]


def check_parallel(cell: Mapping[str, Any], *, questions: list[Path], out: Path, stamp: Stamp) -> None:
    """Check that the question records of a benchmark hold the same ids, and write the result to ``out``.

    ``cell`` names the benchmark; the check itself has no settings. Malformed questions that were dropped when
    a language was fetched count as present. The JSON file holds ``languages`` (their number), ``shared``
    (test questions that no language dropped) and ``dropped`` (ids by language and split). Raises RecordError
    that names the language and its first id that is missing or in no other language.
    """
    files.write_json(out, {**stamp(), **compare_ids(questions)})


def compare_ids(questions: Sequence[Path]) -> dict[str, Any]:
    """The facts that ``check_parallel`` writes: languages, shared, dropped. Raises RecordError as it does."""
    ids, dropped = _ids(questions)
    dropped_tests = {question for splits in dropped.values() for question in splits.get("test", [])}
    shared = 0
    for role in ROLES:
        # Most languages are assumed to be right: one language with a question too few is the odd one.
        reference = Counter(frozenset(splits[role]) for splits in ids.values()).most_common(1)[0][0]
        for language, splits in ids.items():
            if different := sorted(splits[role] ^ reference):
                what = "is missing" if different[0] in reference else "is in no other language"
                raise RecordError(
                    f"{language}: {role} question {different[0]!r} {what} ({len(different)} differ); all"
                    " languages of a benchmark must hold the same question ids."
                )
        shared = shared or len(reference - dropped_tests)
    return {"languages": len(ids), "shared": shared, "dropped": dropped}


def _ids(questions: Iterable[Path]) -> tuple[Ids, Dropped]:
    """Ids by language and split, dropped ones included, and the dropped ones alone."""
    ids: Ids = {}
    dropped: Dropped = {}
    for file in questions:
        metadata = records.metadata(file)
        language = metadata.get("language", Path(file).stem)
        lost = {
            role: [entry["question_id"] for entry in metadata.get("dropped", {}).get(role, [])]
            for role in ROLES
        }
        ids[language] = {role: set(lost[role]) for role in ROLES}
        for question in records.read_questions(file):
            ids[language][question["split"]].add(question["question_id"])
        if any(lost.values()):
            dropped[language] = {role: gone for role, gone in lost.items() if gone}
    return ids, dropped
