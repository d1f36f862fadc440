"""Questions in a user's own files, fetched as a benchmark or read by the command line."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.question_files import QUESTIONS, write_questions
from helpers.stamps import FixedStamp

from polycal.artifacts import records
from polycal.artifacts.records import RecordError
from polycal.data import benchmarks, own_questions


def fetch(path: Path, language: str, out: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    cell = {
        "stage": "fetch_benchmark",
        "benchmark": "b",
        "language": language,
        "source": {"path": str(path)},
        "settings": {"format": "file", "limit": None},
    }
    benchmarks.fetch_benchmark(cell, out=out, stamp=FixedStamp())
    return records.read_questions(out), records.metadata(out)


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl", "json"])
def test_a_users_own_file_in_every_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"en.{suffix}"
    write_questions(path, QUESTIONS)
    questions, metadata = fetch(path, "en", tmp_path / "out.parquet")
    assert [(q["question_id"], q["group"], q["gold"], q["split"]) for q in questions] == [
        ("1", "all", 0, "test"),
        ("2", "sums", 1, "test"),
        ("1", "all", 0, "examples"),
    ]
    assert questions[1]["options"] == ["4", "5", "6"]
    assert list(metadata["files"]) == [f"en.{suffix}"]


def test_a_users_own_files_by_language(tmp_path: Path) -> None:
    write_questions(tmp_path / "q-en.jsonl", QUESTIONS[:1])
    write_questions(tmp_path / "q-yo.jsonl", QUESTIONS[1:2])
    pattern = tmp_path / "q-{language}.jsonl"
    assert fetch(pattern, "en", tmp_path / "out")[0][0]["question_id"] == "1"
    assert fetch(pattern, "yo", tmp_path / "out")[0][0]["question_id"] == "2"
    with pytest.raises(RecordError, match=r"q-fr.jsonl: no such file; it must contain the questions in 'fr'"):
        fetch(pattern, "fr", tmp_path / "out")
    folder = tmp_path / "own"
    folder.mkdir()
    write_questions(folder / "en.csv", QUESTIONS)
    assert len(fetch(folder, "en", tmp_path / "out")[0]) == 3
    with pytest.raises(RecordError, match=r"0 files named 'yo'; exactly one of yo.parquet, yo.csv"):
        fetch(folder, "yo", tmp_path / "out")
    both = tmp_path / "all.parquet"
    write_questions(both, [{**QUESTIONS[0], "language": "en"}, {**QUESTIONS[1], "language": "yo"}])
    assert [q["question_id"] for q in fetch(both, "yo", tmp_path / "out")[0]] == ["2"]
    write_questions(both, QUESTIONS)
    # Otherwise every language would silently get the same questions.
    with pytest.raises(RecordError, match="column 'language' is missing"):
        fetch(both, "yo", tmp_path / "out")


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"gold": 2}, "row 1: gold is 2; must be a whole number from 0 to 1"),
        ({"gold": -1}, "row 1: gold is -1"),
        ({"gold": "first"}, "row 1: gold is 'first'"),
        ({"gold": True}, "row 1: gold is True"),
        ({"gold": None}, "row 1: neither 'gold' .* nor 'answer'"),
        (
            {"gold": None, "answer": "C"},
            "row 1: answer is 'C'; with 2 options it must be one of the letters A, B",
        ),
        ({"options": ["4", None]}, "row 1: options is .*none of them empty"),
        ({"options": ["4"]}, r"row 1: 1 option\(s\)"),
        ({"options": "4 or 5"}, "row 1: options is not a JSON list"),
        ({"split": "train"}, "row 1: split is 'train'; must be 'test' or 'examples'"),
        ({"question_id": "1"}, "row 1: question_id '1' is already in row 0; ids must be unique"),
        ({"split": ["test"]}, r"row 1: split is \['test'\]; must be"),
        ({"split": 0}, "row 1: split is 0; must be"),
        ({"split": False}, "row 1: split is False; must be"),
        ({"question_id": None}, "row 1: question_id is None"),
        ({"question_id": "\u200b"}, r"row 1: question_id is '\\u200b'; must be"),
        ({"question_id": "\ud800"}, "row 1: question_id is .* with half a surrogate pair; must be Unicode"),
        ({"question": "\u200b\ufeff"}, "row 1: question is empty; must be a text"),
        ({"question": "x\ud800"}, "row 1: question is .* with half a surrogate pair; must be Unicode text"),
        ({"options": ["4", "\u200b"]}, "row 1: options is .*none of them empty"),
        ({"options": ["4", "\udc00"]}, "row 1: an option is .* with half a surrogate pair"),
        ({"options": ["4", ["5"]]}, "row 1: options is .*none of them empty"),
        ({"options": "[" * 100_000}, "row 1: options is not a JSON list: lists or objects are nested too"),
        ({"gold": 1.0}, "row 1: gold is 1.0; must be a whole number"),
        ({"gold": 10**30}, "row 1: gold is 10+; must be a whole number"),
    ],
)
def test_a_bad_row_of_a_users_own_file_is_refused(tmp_path: Path, row: dict[str, Any], sentence: str) -> None:
    path = tmp_path / "en.jsonl"
    good = {"question_id": "2", "question": "2 + 3?", "options": ["4", "5"], "gold": 1}
    write_questions(path, [QUESTIONS[0], {**good, **row}])
    with pytest.raises(RecordError, match=f"en.jsonl: {sentence}"):
        fetch(path, "en", tmp_path / "out")


def test_broken_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "en.jsonl"
    path.write_text(json.dumps(QUESTIONS[0]) + "\n{broken\n")
    with pytest.raises(RecordError, match="line 2: not valid JSON"):
        fetch(path, "en", tmp_path / "out")
    path.write_text("[1]")
    with pytest.raises(RecordError, match="row 0: must be a JSON object, not int"):
        fetch(path, "en", tmp_path / "out")
    path.write_text(json.dumps(QUESTIONS)[:-20])
    with pytest.raises(RecordError, match="element 2: truncated or not valid JSON"):
        fetch(path, "en", tmp_path / "out")
    path = tmp_path / "en.csv"
    path.write_text("question_id,question,options,gold\n1,2,3\n")
    with pytest.raises(RecordError, match="line 2: must have 4 cells"):
        fetch(path, "en", tmp_path / "out")
    path = tmp_path / "en.xlsx"
    path.write_text("")
    with pytest.raises(RecordError, match=r"must end in .parquet, .csv, .jsonl, .json"):
        fetch(path, "en", tmp_path / "out")


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl", "json"])
def test_every_format_gives_the_rows_and_checksum_of_the_fetched_record(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"en.{suffix}"
    write_questions(path, QUESTIONS)
    questions = own_questions.read(path)
    record = tmp_path / "record.parquet"
    fetched, metadata = fetch(path, "en", record)
    assert questions == fetched == own_questions.read(record)
    assert own_questions.content(path) == own_questions.content(record) == metadata["content"]
    write_questions(path, QUESTIONS[1:])
    assert own_questions.content(path) != metadata["content"]


def test_a_file_that_is_read_directly_contains_one_language(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    write_questions(path, [{**QUESTIONS[0], "language": "en"}, {**QUESTIONS[1], "language": "yo"}])
    with pytest.raises(
        RecordError, match=r"own\.jsonl: contains questions in en, yo; must contain one language"
    ):
        own_questions.read(path)
    write_questions(path, [{**question, "language": "en"} for question in QUESTIONS])
    assert len(own_questions.read(path)) == 3
    write_questions(path, QUESTIONS[2:])
    assert [question["split"] for question in own_questions.read(path)] == ["examples"]
    write_questions(path, [])
    with pytest.raises(RecordError, match="contains no question"):
        own_questions.read(path)


def test_a_file_that_is_read_directly_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "own.parquet"
    write_questions(path, [QUESTIONS[0], {**QUESTIONS[1], "gold": 3}])
    with pytest.raises(RecordError, match=r"own\.parquet: row 1: gold is 3; must be a whole number"):
        own_questions.read(path)
    write_questions(path, [{"question_id": "1", "question": "?"}])
    for read in (own_questions.read, own_questions.content):
        with pytest.raises(RecordError, match="column 'options' is missing"):
            read(path)
        with pytest.raises(RecordError, match="no such file"):
            read(tmp_path / "none.csv")
    records.write(path, [{"question_id": "1", "embedding": [1.0]}], records.EMBEDDING)
    with pytest.raises(RecordError, match="not a question record"):
        own_questions.read(path)


@pytest.mark.parametrize(
    ("tags", "language", "ids"),
    [
        (["FR", "fr ", "en"], "fr", ["0", "1"]),
        (["fra", "fra_Latn", "en"], "FR", ["0", "1"]),
        (["French", "de"], "fr", ["0"]),
        (["en", "en-GB", "de"], "en", ["0"]),
        (["pt-BR", "de"], "pt", ["0"]),
        (["zho_Hans", "zh-Hant"], "zh_Hant", ["1"]),
        (["Mine", "other"], "mine", ["0"]),
    ],
)
def test_rows_of_a_language_are_found_in_every_spelling(
    tmp_path: Path, tags: list[str], language: str, ids: list[str]
) -> None:
    path = tmp_path / "all.csv"
    rows = [{**QUESTIONS[0], "question_id": str(n), "language": tag} for n, tag in enumerate(tags)]
    write_questions(path, rows)
    assert [question["question_id"] for question in fetch(path, language, tmp_path / "out")[0]] == ids


@pytest.mark.parametrize(
    ("tags", "language", "sentence"),
    [
        (
            ["FR", "fr ", "DE"],
            "es",
            r"no row is in this language; choose .* contains 'de' \(1 rows\), 'fr' \(2 rows\)",
        ),
        (
            ["zh-Hans", "zh-Hant"],
            "zh",
            "several variants match; choose .* contains 'zh-Hans' .*'zh-Hant'",
        ),
        ([None, "unk"], "fr", r"no row is in this language; choose .* contains '' \(1 rows\), 'unk'"),
    ],
)
def test_the_error_for_a_missing_language_lists_those_in_the_file(
    tmp_path: Path, tags: list[str | None], language: str, sentence: str
) -> None:
    path = tmp_path / "all.jsonl"
    rows = [{**QUESTIONS[0], "question_id": str(n), "language": tag} for n, tag in enumerate(tags)]
    write_questions(path, rows)
    with pytest.raises(RecordError, match=rf"all\.jsonl: language '{language}': {sentence}"):
        fetch(path, language, tmp_path / "out")


def test_a_row_without_a_language_among_several_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    rows = [
        {**QUESTIONS[0], "question_id": str(n), "language": tag} for n, tag in enumerate(["fr", "en", " "])
    ]
    write_questions(path, rows)
    with pytest.raises(
        RecordError, match=r"all\.jsonl: row 2: language is empty; each row of a file with sev"
    ):
        fetch(path, "fr", tmp_path / "out")
    with pytest.raises(RecordError, match="contains questions in '', en, fr; must contain one language"):
        own_questions.read(path)


def test_a_row_of_another_language_is_refused_in_a_file_of_one_language(tmp_path: Path) -> None:
    path = tmp_path / "fr.jsonl"
    write_questions(path, [{**QUESTIONS[0], "language": "fra"}, {**QUESTIONS[1], "language": "en"}])
    with pytest.raises(RecordError, match=r"fr\.jsonl: row 1: language is 'en', but the file is for 'fr'"):
        fetch(path, "fr", tmp_path / "out")
    write_questions(path, [{**QUESTIONS[0], "language": "fra"}, {**QUESTIONS[1], "language": "FR"}])
    assert len(fetch(path, "fr", tmp_path / "out")[0]) == len(own_questions.read(path)) == 2


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_answer_and_gold_must_agree(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"en.{suffix}"
    row = {"question_id": "1", "question": "Q?", "options": ["a", "b", "c"], "answer": "B"}
    write_questions(path, [{**row, "gold": 1}])
    assert own_questions.read(path)[0]["gold"] == 1
    write_questions(path, [{**row, "gold": 0}])
    with pytest.raises(
        RecordError, match=r"row 0: gold is '?0'? \(A\), but answer is 'B'; both must name the same option"
    ):
        own_questions.read(path)


@pytest.mark.parametrize(
    ("answer", "agrees"),
    [("b", True), ("", True), (" ", True), ("1", True), (" B ", True), ("c", False), ("x", False)],
)
def test_an_answer_that_is_not_a_letter_may_be_the_text_or_index_of_the_option(
    tmp_path: Path, answer: str, agrees: bool
) -> None:
    path = tmp_path / "en.jsonl"
    row = {"question_id": "1", "question": "Q?", "options": ["a", "b", "c"], "answer": answer, "gold": 1}
    write_questions(path, [row])
    if agrees:
        assert own_questions.read(path)[0]["gold"] == 1
    else:
        with pytest.raises(RecordError, match=f"gold is 1 .B., but answer is '{answer}'"):
            own_questions.read(path)


def test_placeholders_are_removed_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "en.jsonl"
    row = {"question_id": "1", "question": "Q?", "options": ["N/A", "a", " n/a ", "b"], "gold": 3}
    write_questions(
        path, [row, {**row, "split": "examples"}, {**row, "question_id": "2", "options": list("abcd")}]
    )
    questions, metadata = fetch(path, "en", tmp_path / "out")
    assert [(question["options"], question["gold"]) for question in questions] == [
        (["a", "b"], 1),
        (["a", "b"], 1),
        (["a", "b", "c", "d"], 3),
    ]
    assert metadata["placeholders"] == {"test": 2, "examples": 2}
    write_questions(path, [{**row, "gold": 2}])
    with pytest.raises(RecordError, match=r"row 0: the right option is 'n/a', which marks a missing option"):
        fetch(path, "en", tmp_path / "out")
    write_questions(path, [{**row, "options": ["N/A", "N/A", "a"], "gold": 2}])
    with pytest.raises(RecordError, match=r"row 0: 1 option\(s\); a question needs at least two"):
        fetch(path, "en", tmp_path / "out")
