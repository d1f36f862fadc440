"""The check that all languages of a benchmark ask the same questions."""

import json
from pathlib import Path

import pytest
from helpers.stamps import FixedStamp

from polycal.artifacts import records
from polycal.artifacts.records import RecordError
from polycal.data import benchmarks, parallel

HUB = Path(__file__).parents[2] / "fixtures/hub"


def fetch(language: str, out: Path) -> None:
    cell = {
        "benchmark": "b",
        "language": language,
        "source": {"path": str(HUB / "MMLU-ProX")},
        "settings": {"format": "mmlu-prox", "limit": None},
    }
    benchmarks.fetch_benchmark(cell, out=out, stamp=FixedStamp())


def check(questions: list[Path], out: Path) -> dict[str, object]:
    cell = {"stage": "check_parallel", "benchmark": "b"}
    parallel.check_parallel(cell, questions=questions, out=out, stamp=FixedStamp(stage="check_parallel"))
    return json.loads(out.read_text())


def test_parallel_languages_pass_and_others_are_refused(tmp_path: Path) -> None:
    files = []
    for language in ("en", "sw", "zh"):
        files.append(tmp_path / f"{language}.parquet")
        fetch(language, files[-1])
    out = tmp_path / "parallel.json"
    facts = {"languages": 3, "shared": 23, "dropped": {"zh": {"test": ["3299"]}}}
    assert parallel.compare_ids(files) == facts
    assert check(files, out) == {"stage": "check_parallel", **facts}
    out.unlink()
    rows = records.read_questions(files[1])
    renamed = [{**row, "question_id": "9999"} if row["question_id"] == "3294" else row for row in rows]
    records.write(files[1], renamed, records.QUESTION, records.metadata(files[1]))
    for order in (files, [files[1], files[0], files[2]]):
        with pytest.raises(RecordError, match=r"sw: test question '3294' is missing \(2 differ\)"):
            check(order, out)
    assert not out.exists()


def test_no_question_is_shared_if_each_is_dropped_by_a_language(tmp_path: Path) -> None:
    question = {"group": "g", "question": "?", "options": ["a", "b"], "gold": 0}
    example = {**question, "question_id": "e", "split": "examples"}
    files = []
    for language, present, dropped in (("en", "1", "2"), ("sw", "2", "1")):
        files.append(tmp_path / f"{language}.parquet")
        rows = [{**question, "question_id": present, "split": "test"}, example]
        metadata = {"language": language, "dropped": {"test": [{"question_id": dropped, "reason": "r"}]}}
        records.write(files[-1], rows, records.QUESTION, metadata)
    assert parallel.compare_ids(files)["shared"] == 0
