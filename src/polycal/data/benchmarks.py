"""How each benchmark becomes Questions: MMLU-ProX, Global-MMLU, and a user's own file.

MMLU-ProX (li-lab/MMLU-ProX and its Lite variant): three to ten options in ``option_0`` to ``option_9``,
null where there are fewer. Global-MMLU (CohereLabs/Global-MMLU and its Lite variant): ``option_a`` to
``option_d``. In both the letter in ``answer`` says which is right; MMLU-ProX also has an ``answer_index``,
which is not read.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from polycal.artifacts import records
from polycal.artifacts.manifests import Stamp
from polycal.artifacts.records import RecordError
from polycal.data import readers, sources

LETTERS = "ABCDEFGHIJ"
# Column of the id, of the group, of the options, and the splits that become test and examples.
FORMATS = {
    "mmlu-prox": (
        "question_id",
        "category",
        [f"option_{place}" for place in range(10)],
        {"test": "test", "validation": "examples"},
    ),
    "global-mmlu": (
        "sample_id",
        "subject",
        [f"option_{letter}" for letter in "abcd"],
        {"test": "test", "dev": "examples"},
    ),
}
FILE_COLUMNS = ["question_id", "question", "options"]

Dropped = dict[str, list[dict[str, str]]]


def fetch(cell: Mapping[str, Any], out: Path, stamp: Stamp) -> None:
    """Write the Questions of one language, test and examples, to ``out``.

    The metadata says how many questions each split has, which malformed ones were dropped (by id and
    reason), how many options they have, and from which files they come. Raises SourceError where the
    benchmark cannot be had and RecordError, naming file and row, where it is not as its card says.
    """
    language, settings = cell["language"], cell["settings"]
    dropped: Dropped = {"test": [], "examples": []}
    if settings["format"] == "file":
        given = sources.data(cell["source"], "benchmarks", language)
        root = _file(given, language)
        split = readers.read_file(root)
        files = split.files
        questions = list(_own(split, language, alone=root != given or root.stem == language))
    else:
        *_, splits = FORMATS[settings["format"]]
        root = sources.data(cell["source"], "benchmarks", language)
        found = readers.read_repository(root, language)
        if missing := set(splits) - set(found):
            raise RecordError(
                f"{root} ({language}): split {min(missing)!r} is missing (found {', '.join(found) or 'none'})."
            )
        questions, files = [], []
        for name, role in splits.items():
            files += found[name].files
            questions += _adapt(found[name], role, settings["format"], dropped[role])
    limit = settings.get("limit")
    questions, dropped = _sample(questions, dropped, limit)
    if not any(question["split"] == "test" for question in questions):
        raise RecordError(f"{root} ({language}): no test question; a benchmark needs at least one.")
    metadata = {
        **stamp(),
        "language": language,
        "source": dict(cell["source"]),
        "files": sources.checksums(files, root),
        "questions": dict(Counter(question["split"] for question in questions)),
        "options": {
            str(size): count for size, count in sorted(Counter(len(q["options"]) for q in questions).items())
        },
        "dropped": dropped,
    }
    records.write(out, questions, records.QUESTION, metadata)


def check_parallel(files: Sequence[Path]) -> dict[str, Any]:
    """Ids of a benchmark's languages are the same, malformed questions that were dropped counted as there.

    Returns how many test questions all languages share, and the dropped ids by language. Raises
    RecordError naming the language and the first id that is missing or too much.
    """
    ids: dict[str, dict[str, set[str]]] = {}
    dropped: dict[str, dict[str, list[str]]] = {}
    for file in files:
        metadata = records.metadata(file)
        language = metadata.get("language", Path(file).stem)
        gone = {
            role: [d["question_id"] for d in metadata.get("dropped", {}).get(role, [])]
            for role in ("test", "examples")
        }
        ids[language] = {role: set(gone[role]) for role in gone}
        for question in records.read_questions(file):
            ids[language][question["split"]].add(question["question_id"])
        if any(gone.values()):
            dropped[language] = {role: lost for role, lost in gone.items() if lost}
    lost = {question for roles in dropped.values() for question in roles.get("test", [])}
    shared = 0
    for role in ("test", "examples"):
        # The ids that most languages have are right: one language with a question too few is the odd one.
        reference = Counter(frozenset(found[role]) for found in ids.values()).most_common(1)[0][0]
        for language, found in ids.items():
            if odd := sorted(found[role] ^ reference):
                what = "is missing" if odd[0] in reference else "is in no other language"
                raise RecordError(
                    f"{language}: {role} question {odd[0]!r} {what} ({len(odd)} differ); all languages of a"
                    " benchmark must hold the same question ids."
                )
        shared = shared or len(reference - lost)
    return {"languages": len(ids), "shared": shared, "dropped": dropped}


def _adapt(
    split: readers.Split, role: str, kind: str, dropped: list[dict[str, str]]
) -> Iterator[dict[str, Any]]:
    id_column, group, option_columns, _ = FORMATS[kind]
    seen: dict[str, str] = {}
    for where, row in split.numbered([id_column, group, "question", *option_columns, "answer"]):
        identity = _identity(row, id_column, where, seen)
        options = [_text(row, column, where, empty=True) for column in option_columns]
        filled = [option for option in options if option is not None]
        end = max((place + 1 for place, option in enumerate(options) if option is not None), default=0)
        # Global-MMLU always has four; a null at the end is as much a gap there as one in between.
        if len(filled) < (len(options) if kind == "global-mmlu" else end):
            gap = option_columns[options.index(None)]
            dropped.append({"question_id": identity, "reason": f"{gap} is empty"})
            continue
        yield {
            "question_id": identity,
            "group": _text(row, group, where),
            "question": _text(row, "question", where),
            "options": _enough(filled, where),
            "gold": _gold(row, len(filled), where),
            "split": role,
        }


def _own(split: readers.Split, language: str, alone: bool) -> Iterator[dict[str, Any]]:
    """Questions of a user's file: Question columns; ``answer`` (a letter) may stand for ``gold``.

    csv holds options as a JSON list. ``group`` and ``split`` may be left out. A file that is not of one
    language ``alone`` needs a column ``language``, and only its rows of that language are taken.
    """
    seen: dict[str, dict[str, str]] = {"test": {}, "examples": {}}
    for where, row in split.numbered([*FILE_COLUMNS, *([] if alone else ["language"])]):
        if not alone and row["language"] != language:
            continue
        options = _options(row["options"], where)
        role = row.get("split") or "test"
        if role not in seen:
            raise RecordError(f"{where}: split is {role!r}; must be 'test' or 'examples'.")
        if row.get("gold") is None and row.get("answer") is None:
            raise RecordError(f"{where}: neither 'gold' (a number from 0) nor 'answer' (a letter) is given.")
        by_letter = row.get("gold") is None
        yield {
            "question_id": _identity(row, "question_id", where, seen[role]),
            "group": _text(row, "group", where) if row.get("group") is not None else "all",
            "question": _text(row, "question", where),
            "options": options,
            "gold": _gold(row, len(options), where)
            if by_letter
            else _number(row["gold"], len(options), where),
            "split": role,
        }


def _file(path: Path, language: str) -> Path:
    """The file of one language: ``{language}`` in the path, a folder of files named by it, or one for all."""
    if "{language}" in path.name:
        path = path.with_name(path.name.replace("{language}", language))
    if path.is_dir():
        found = [
            path / f"{language}{suffix}"
            for suffix in readers.SUFFIXES
            if (path / f"{language}{suffix}").is_file()
        ]
        if len(found) != 1:
            raise RecordError(
                f"{path}: {len(found)} files named {language!r}; exactly one of"
                f" {', '.join(language + suffix for suffix in readers.SUFFIXES)} must be there."
            )
        path = found[0]
    if not path.is_file():
        raise RecordError(f"{path}: no such file; it has to hold the questions in {language!r}.")
    return path


def _sample(
    questions: list[dict[str, Any]], dropped: Dropped, limit: int | None
) -> tuple[list[dict[str, Any]], Dropped]:
    """``limit`` test questions, the same in every language whatever their order and however many were dropped.

    They are those whose ids have the smallest checksums: a random sample that spreads over the groups.
    """
    if limit is None:
        return questions, dropped
    ids = {q["question_id"] for q in questions if q["split"] == "test"} | {
        d["question_id"] for d in dropped["test"]
    }
    chosen = set(sorted(ids, key=lambda i: hashlib.sha256(i.encode()).digest())[:limit])
    kept = [q for q in questions if q["split"] != "test" or q["question_id"] in chosen]
    return kept, {**dropped, "test": [d for d in dropped["test"] if d["question_id"] in chosen]}


def _identity(row: Mapping[str, Any], column: str, where: str, seen: dict[str, str]) -> str:
    value = row[column]
    if isinstance(value, bool) or not isinstance(value, (int, str)) or value == "":
        raise RecordError(f"{where}: {column} is {value!r}; must be a whole number or a text.")
    if first := seen.get(str(value)):
        raise RecordError(f"{where}: {column} {value!r} stands in {first} already; ids must be unique.")
    seen[str(value)] = where.rpartition(": ")[2]
    return str(value)


def _text(row: Mapping[str, Any], column: str, where: str, empty: bool = False) -> Any:
    value = row[column]
    if value is None or (isinstance(value, str) and not value.strip()):
        if empty:
            return None
        raise RecordError(f"{where}: {column} is empty; must be a text.")
    if not isinstance(value, str):
        raise RecordError(f"{where}: {column} is {value!r} ({type(value).__name__}); must be a text.")
    return value.strip()


def _gold(row: Mapping[str, Any], options: int, where: str) -> int:
    answer = row["answer"]
    letter = answer.strip() if isinstance(answer, str) else answer
    allowed = LETTERS[:options]
    if not isinstance(letter, str) or len(letter) != 1 or letter not in allowed:
        raise RecordError(
            f"{where}: answer is {answer!r}; with {options} options it must be one of the letters {', '.join(allowed)}."
        )
    return allowed.index(letter)


def _number(value: Any, options: int, where: str) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not text.isdecimal() or int(text) >= options:
        raise RecordError(f"{where}: gold is {value!r}; must be a whole number from 0 to {options - 1}.")
    return int(text)


def _options(value: Any, where: str) -> list[str]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise RecordError(f"{where}: options is not a JSON list: {error}.") from error
    if not isinstance(value, list) or not all(isinstance(o, str) and o.strip() for o in value):
        raise RecordError(f"{where}: options is {value!r}; must be a list of texts, none of them empty.")
    return _enough([option.strip() for option in value], where)


def _enough(options: list[str], where: str) -> list[str]:
    if len(options) < 2:
        raise RecordError(f"{where}: {len(options)} option(s); a question needs at least two.")
    return options
