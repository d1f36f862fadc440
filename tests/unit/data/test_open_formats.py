"""Questions without options: files of one's own, and the benchmark MKQA.

MKQA asks the same questions in 26 languages. It is published as a repository of the hub and as one file of its authors.
"""

import json
from collections import Counter
from pathlib import Path

import pytest
from helpers import mkqa
from helpers.stamps import FixedStamp

from polycal.artifacts import open_records, records
from polycal.artifacts.records import RecordError
from polycal.data import benchmarks, open_formats, parallel

ROWS = [
    {"question_id": "1", "question": "2 + 2?", "answers": ["4", " four ", "4"]},
    {"question_id": "2", "question": "2 + 3?", "answers": ["5"], "group": "sums", "split": "test"},
    {"question_id": "1", "question": "1 + 1?", "answers": ["2"], "split": "examples"},
]


def fetch(path: Path, out: Path, language: str = "en", form: str = "open", limit: int | None = None):
    cell = {"language": language, "source": {"path": str(path)}, "settings": {"format": form, "limit": limit}}
    benchmarks.fetch_benchmark(cell, out=out, stamp=FixedStamp())
    return open_records.read_questions(out)


def test_a_file_of_ones_own_is_read(tmp_path: Path) -> None:
    file = tmp_path / "en.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    found = fetch(file, tmp_path / "q.parquet")
    assert [row["answers"] for row in found] == [["4", "four"], ["5"], ["2"]]
    assert [row["group"] for row in found] == ["all", "sums", "all"]
    assert records.metadata(tmp_path / "q.parquet")["answers"] == {"1": 2, "2": 1}
    lines = ["question_id,language,question,answers", '1,en,2 + 2?,"[""4""]"', '1,fr,2 + 2 ?,"[""quatre""]"']
    (tmp_path / "all.csv").write_text("\n".join(lines) + "\n")
    assert fetch(tmp_path / "all.csv", tmp_path / "fr.parquet", "fr")[0]["answers"] == ["quatre"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"answers": []}, "row 0: answers is empty; a question needs at least one accepted answer"),
        ({"answers": ["a", " "]}, "row 0: answers is .*; must be a list of texts, none of them empty"),
        ({"answers": "a"}, "row 0: answers is not a JSON list"),
        ({"split": "train"}, "row 0: split is 'train'; must be 'test' or 'examples'"),
        ({"question": " "}, "row 0: question is empty"),
    ],
)
def test_what_is_no_question_with_an_answer_is_refused(tmp_path: Path, change: dict, words: str) -> None:
    file = tmp_path / "en.jsonl"
    file.write_text(json.dumps({**ROWS[0], **change}) + "\n")
    with pytest.raises(RecordError, match=words):
        fetch(file, tmp_path / "q.parquet")
    assert not (tmp_path / "q.parquet").exists()


@pytest.mark.parametrize("layout", ["hub", "repository"])
def test_mkqa_is_parallel_and_its_questions_without_answers_are_counted(tmp_path: Path, layout: str) -> None:
    source = tmp_path / "mkqa.jsonl"
    if layout == "hub":
        source = mkqa.write(tmp_path / "hub")
    else:
        # the repository of its authors names the types and leaves out empty aliases
        names = {number: name for name, number in mkqa.TYPES.items()}
        rows = mkqa.rows()
        for row in rows:
            for answers in row["answers"].values():
                for answer in answers:
                    answer["type"] = names[answer["type"]]
                    if not answer["aliases"]:
                        del answer["aliases"]
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, files = {}, []
    for language in ("en", "de", "zh"):
        files.append(tmp_path / f"{language}.parquet")
        found[language] = {
            (row["split"], row["question_id"]): row for row in fetch(source, files[-1], language, "mkqa")
        }
    groups = Counter((split, row["group"]) for (split, _), row in found["en"].items())
    assert groups == {
        ("examples", "entity"): 5, ("examples", "number"): 5, ("test", "entity"): 4, ("test", "number"): 2,
    }  # fmt: skip
    role = next(split for split, name in found["en"] if name == "202")
    assert found["zh"][role, "202"]["answers"] == ["巴黎", "巴黎市"]
    assert found["zh"][role, "202"]["question"] == "zh_cn 202?"
    dropped = {path.stem: records.metadata(path)["dropped"] for path in files}
    assert [entry["question_id"] for entry in dropped["en"]["test"]] == ["200", "201"]
    assert dropped["de"][role][-1] == {"question_id": "202", "reason": "no answer in de"}
    assert parallel.compare_ids(files)["languages"] == 3


def test_a_language_that_mkqa_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"has no language 'yo' \(found de, en, zh_cn\)"):
        fetch(mkqa.write(tmp_path / "hub"), tmp_path / "q.parquet", "yo", "mkqa")


def test_an_unknown_type_of_answer_is_refused() -> None:
    row = mkqa.row(1, "entity", {"en": ["a"]})
    row["answers"]["en"][0]["type"] = "riddle"
    with pytest.raises(RecordError, match="here: the type of an answer is 'riddle'; must be one of entity"):
        open_formats.mkqa_questions([("here", row)], "en", {"test": [], "examples": []})
