"""Benchmarks of the hub as questions."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.stamps import FixedStamp

from polycal.artifacts import records
from polycal.artifacts.records import RecordError
from polycal.data import benchmarks, parallel

HUB = Path(__file__).parents[2] / "fixtures/hub"


def fetch(
    path: Path, language: str, out: Path, kind: str = "file", limit: int | None = None, **note: Any
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    cell = {
        "stage": "fetch_benchmark",
        "benchmark": "b",
        "language": language,
        "source": {"path": str(path)},
        "settings": {"format": kind, "limit": limit},
    }
    benchmarks.fetch_benchmark(cell, out=out, stamp=FixedStamp(**note))
    return records.read_questions(out), records.metadata(out)


def hub_copy(tmp_path: Path, name: str, language: str, **changes: Any) -> Path:
    """A fixture with its test rows changed: ``row=(number, values)`` or ``table=function of the table``."""
    folder = tmp_path / "repository"
    for file in (HUB / name / language).glob("*.parquet"):
        table = pq.read_table(file)
        if file.name.startswith("test"):
            if "row" in changes:
                number, values = changes["row"]
                rows = table.to_pylist()
                rows[number].update(values)
                table = pa.Table.from_pylist(rows, schema=table.schema)
            if "table" in changes:
                table = changes["table"](table)
        (folder / language).mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / language / file.name)
    (folder / "README.md").write_text((HUB / name / "README.md").read_text())
    return folder


def test_mmlu_prox_becomes_questions(tmp_path: Path) -> None:
    questions, metadata = fetch(HUB / "MMLU-ProX", "zh", tmp_path / "zh.parquet", "mmlu-prox", stage="s")
    by_id = {(q["split"], q["question_id"]): q for q in questions}
    first = by_id["test", "3290"]
    assert first["options"] == ["数字4", "数字5", "数字6", "数字7", "数字8"]
    assert (first["group"], first["question"], first["gold"]) == ("economics", "2加3等于多少?", 1)
    # answer_index is 1 here, but answer is A.
    assert by_id["test", "3293"]["gold"] == 0
    assert by_id["test", "3294"]["question"] == by_id["test", "3294"]["question"].strip()
    assert {len(q["options"]) for q in questions} == set(range(3, 11))
    assert metadata["dropped"] == {
        "test": [{"question_id": "3299", "reason": "option_8 is empty"}],
        "examples": [],
    }
    assert metadata["questions"] == {"test": 23, "examples": 6}
    assert sum(metadata["options"].values()) == len(questions)
    assert metadata["stage"] == "s"
    assert metadata["language"] == "zh"
    assert set(metadata["files"]) == {
        "zh/test-00000-of-00001.parquet",
        "zh/validation-00000-of-00001.parquet",
    }


def test_global_mmlu_becomes_questions(tmp_path: Path) -> None:
    questions, metadata = fetch(HUB / "Global-MMLU", "yo", tmp_path / "yo.parquet", "global-mmlu")
    assert questions[0] == {
        "question_id": "elementary_mathematics/test/0",
        "group": "elementary_mathematics",
        "question": "Kí ni àròpọ̀ 2 àti 3?",
        "options": ["Nọ́mbà 4", "Nọ́mbà 5", "Nọ́mbà 6", "Nọ́mbà 7"],
        "gold": 1,
        "split": "test",
    }
    assert metadata["questions"] == {"test": 24, "examples": 6}
    assert metadata["options"] == {"4": 30}


def test_global_mmlu_questions_with_an_empty_last_option_are_dropped(tmp_path: Path) -> None:
    folder = hub_copy(tmp_path, "Global-MMLU", "fr", row=(3, {"option_d": None}))
    _, metadata = fetch(folder, "fr", tmp_path / "fr.parquet", "global-mmlu")
    dropped = [{"question_id": "elementary_mathematics/test/3", "reason": "option_d is empty"}]
    assert metadata["dropped"]["test"] == dropped
    assert metadata["questions"]["test"] == 23


def test_placeholders_of_mmlu_prox_are_removed_and_counted(tmp_path: Path) -> None:
    # Row 0 has five options, of which the second is right.
    values = {"option_0": "N/A", "option_3": "N/A"}
    folder = hub_copy(tmp_path, "MMLU-ProX", "en", row=(0, values))
    before, _ = fetch(HUB / "MMLU-ProX", "en", tmp_path / "before", "mmlu-prox")
    questions, metadata = fetch(folder, "en", tmp_path / "out", "mmlu-prox")
    assert questions[0]["options"] == [before[0]["options"][number] for number in (1, 2, 4)]
    assert (before[0]["gold"], questions[0]["gold"]) == (1, 0)
    assert questions[1:] == before[1:]
    assert metadata["placeholders"] == {"test": 2, "examples": 0}
    folder = hub_copy(tmp_path, "MMLU-ProX", "en", row=(0, {"option_1": "N/A"}))
    with pytest.raises(RecordError, match="row 0: the right option is 'N/A', which marks a missing option"):
        fetch(folder, "en", tmp_path / "out", "mmlu-prox")


def test_global_mmlu_has_no_placeholders(tmp_path: Path) -> None:
    folder = hub_copy(tmp_path, "Global-MMLU", "en", row=(0, {"option_a": "N/A"}))
    questions, metadata = fetch(folder, "en", tmp_path / "out", "global-mmlu")
    assert questions[0]["options"][0] == "N/A"
    assert metadata["placeholders"] == {"test": 0, "examples": 0}


def test_the_same_rows_give_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        fetch(HUB / "MMLU-ProX", "en", tmp_path / name, "mmlu-prox")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        (
            "MMLU-ProX",
            {"row": (2, {"answer": "J"})},
            r"\(en, test\): row 2: answer is 'J'; with 7 options it must be",
        ),
        ("MMLU-ProX", {"row": (2, {"answer": "3"})}, r"row 2: answer is '3'; .* letters A, B, C, D, E, F, G"),
        ("MMLU-ProX", {"row": (2, {"answer": None})}, "row 2: answer is None"),
        ("MMLU-ProX", {"row": (5, {"question": " "})}, "row 5: question is empty; must be a text"),
        ("MMLU-ProX", {"row": (5, {"question_id": 3290})}, "row 5: question_id 3290 is already in row 0"),
        (
            "MMLU-ProX",
            {"row": (5, {f"option_{n}": None for n in range(1, 10)})},
            r"row 5: 1 option\(s\); a question needs at least two",
        ),
        (
            "MMLU-ProX",
            {"table": lambda t: t.drop_columns("option_7")},
            "column 'option_7' is missing .found question_id",
        ),
        (
            "MMLU-ProX",
            {"table": lambda t: t.set_column(12, "answer", pa.array(range(t.num_rows)))},
            r"row 0: answer is 0; with \d+ options",
        ),
        (
            "MMLU-ProX",
            {"table": lambda t: t.set_column(2, "option_0", pa.array([0.5] * t.num_rows))},
            r"row 0: option_0 is 0.5 \(float\); must be a text",
        ),
        (
            "Global-MMLU",
            {"table": lambda t: t.rename_columns({"sample_id": "sampleid"})},
            "'sample_id' is missing",
        ),
        (
            "Global-MMLU",
            {"table": lambda t: t.slice(0, 0)},
            "no test question; a benchmark needs at least one",
        ),
    ],
)
def test_a_repository_with_wrong_columns_or_values_is_refused(
    tmp_path: Path, name: str, changes: dict[str, Any], sentence: str
) -> None:
    folder = hub_copy(tmp_path, name, "en", **changes)
    out = tmp_path / "out.parquet"
    with pytest.raises(RecordError, match=sentence):
        fetch(folder, "en", out, name.lower())
    assert not out.exists()


def test_a_missing_language_or_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no configuration 'xx'; the data set has en, sw, zh"):
        fetch(HUB / "MMLU-ProX", "xx", tmp_path / "out", "mmlu-prox")
    folder = hub_copy(tmp_path, "Global-MMLU", "en")
    with pytest.raises(RecordError, match=r"split 'validation' is missing \(found test, dev\)"):
        fetch(folder, "en", tmp_path / "out", "mmlu-prox")
    (folder / "en" / "test-00000-of-00001.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(RecordError, match="truncated or not a Parquet file"):
        fetch(folder, "en", tmp_path / "out", "global-mmlu")


def test_a_limit_selects_the_same_questions_in_every_language(tmp_path: Path) -> None:
    chosen = {}
    for language in ("en", "sw", "zh"):
        questions, metadata = fetch(HUB / "MMLU-ProX", language, tmp_path / language, "mmlu-prox", limit=20)
        ids = {q["question_id"] for q in questions if q["split"] == "test"}
        chosen[language] = ids | {d["question_id"] for d in metadata["dropped"]["test"]}
        assert len(chosen[language]) == 20
        assert metadata["questions"]["examples"] == 6
    assert chosen["en"] == chosen["sw"] == chosen["zh"]
    comparison = parallel.compare_ids([tmp_path / language for language in chosen])
    assert comparison["shared"] == 20 - len(comparison["dropped"].get("zh", {}).get("test", []))
