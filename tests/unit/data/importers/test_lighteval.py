"""Import of logs of lighteval: both schemas, and which logs are refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.harness_logs import TIME, detail, write_details

from polycal.artifacts import records
from polycal.data.importers.logged_questions import ImportLogError
from polycal.data.importers.score_records import Names, import_logs

OPTIONS = ["tree", "house by the river", "stone"]
FILE = f"details_lighteval|belebele_deu_Latn_cf|5|0_{TIME}.parquet"
FOLDER = f"details/lab/model/{TIME}"


def log(folder: Path, rows: list[dict[str, Any]], name: str = FILE) -> Path:
    return write_details(folder / FOLDER / name, rows)


def imported(folder: Path, out: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of the records by their path below ``out``."""
    paths = import_logs("lighteval", folder, out, Names())
    return {path.relative_to(out).as_posix(): records.read_scores(path).to_pylist() for path in paths}


def refused(folder: Path, out: Path) -> str:
    with pytest.raises(ImportLogError) as error:
        import_logs("lighteval", folder, out, Names())
    assert not out.exists()
    message = str(error.value)
    assert message.endswith(".")
    assert "\n" not in message
    return message


def flat(number: int, gold: list[int], logprob: list[float], tokens: list[list[int]]) -> dict[str, Any]:
    """A row of the schema before 0.11, with native values."""
    return {
        "example": f"What is {number}?",
        "full_prompt": f"Examples. What is {number}?",
        "choices": [f" {option}" for option in OPTIONS],
        "gold_index": gold,
        "predictions": logprob,
        "cont_tokens": tokens,
        "metrics": {"acc": int(int(np.argmax(logprob)) in gold)},
    }


TOKENS = [[5, -1, -1, -1], [6, 7, 8, 9], [4, 3, -1, -1]]


def test_values_and_token_counts_of_the_new_schema(tmp_path: Path) -> None:
    rows = [detail(number, OPTIONS, [-1.5, -2.5, -0.5], number % 3, TOKENS) for number in range(4)]
    log(tmp_path / "run", rows)
    results = tmp_path / f"run/results/lab/model/results_{TIME}.json"
    results.parent.mkdir(parents=True)
    results.write_text(json.dumps({"config_general": {"model_name": "lab/model", "lighteval_sha": "abc"}}))
    [(name, scores)] = imported(tmp_path / "run", tmp_path / "out").items()
    assert name == "lab__model/belebele/texts-5shot/de.parquet"
    assert [row["gold"] for row in scores] == [0, 1, 2, 0]
    for row in scores:
        assert row["option_logprob"] == [-1.5, -2.5, -0.5]
        assert row["option_tokens"] == [1, 4, 2]
        assert row["option_bytes"] == [4, 18, 5]
    origin = records.metadata(tmp_path / "out" / name)["origin"]
    assert (origin["tool"], origin["model"]) == ("lighteval", "lab/model")
    assert origin["logs"][0]["lighteval_sha"] == "abc"
    assert origin["logs"][0]["file"] == f"{FOLDER}/{FILE}"


@pytest.mark.parametrize(("as_text", "in_pairs"), [(False, False), (True, False), (True, True)])
def test_both_forms_of_the_old_schema(tmp_path: Path, as_text: bool, in_pairs: bool) -> None:
    rows: list[dict[str, Any]] = [
        flat(0, [2], [-3.0, -2.0, -1.0], TOKENS),
        flat(1, [0], [-3.0, -2.0, -1.0], TOKENS),
    ]
    if in_pairs:
        rows = [{**row, "predictions": [(value, False) for value in row["predictions"]]} for row in rows]
    if as_text:
        rows = [{key: str(value) for key, value in row.items()} for row in rows]
    log(tmp_path / "run", rows)
    [scores] = imported(tmp_path / "run", tmp_path / "out").values()
    assert [row["gold"] for row in scores] == [2, 0]
    assert [row["option_logprob"] for row in scores] == [[-3.0, -2.0, -1.0]] * 2
    assert [row["option_tokens"] for row in scores] == [[1, 4, 2]] * 2
    assert [row["question_id"] for row in scores] == ["0", "1"]


@pytest.mark.parametrize("gold", [1, [1]])
def test_gold_is_an_index_or_a_list_of_one(tmp_path: Path, gold: Any) -> None:
    log(tmp_path / "run", [detail(0, OPTIONS, [-2.0, -1.0, -3.0], gold, TOKENS, acc=1)])
    [scores] = imported(tmp_path / "run", tmp_path / "out").values()
    assert scores[0]["gold"] == 1


@pytest.mark.parametrize("tokens", [[[5, -1]], [[5], [-1], [4]], [[], [4], [4]]])
def test_missing_numbers_of_tokens_stay_missing(tmp_path: Path, tokens: list[list[int]]) -> None:
    rows = [
        detail(0, OPTIONS, [-2.0, -1.0, -3.0], 1, TOKENS),
        detail(1, OPTIONS, [-2.0, -1.0, -3.0], 1, tokens),
    ]
    log(tmp_path / "run", rows)
    [scores] = imported(tmp_path / "run", tmp_path / "out").values()
    assert [row["option_tokens"] for row in scores] == [None, None]


def test_values_after_those_of_the_options_are_ignored(tmp_path: Path) -> None:
    log(tmp_path / "run", [detail(0, OPTIONS, [-2.0, -1.0, -3.0, -9.0, -9.0, -9.0], 1, TOKENS)])
    [scores] = imported(tmp_path / "run", tmp_path / "out").values()
    assert scores[0]["option_logprob"] == [-2.0, -1.0, -3.0]


def test_question_numbers_of_several_subjects_become_unique_ids(tmp_path: Path) -> None:
    for subject in ("law", "anatomy"):
        name = f"details_lighteval|global_mmlu_all_zho_mcf:{subject}|0|0_{TIME}.parquet"
        log(tmp_path / "run", [detail(n, ["A", "B"], [-1.0, -2.0], 0, [[1], [2]]) for n in range(2)], name)
    [(name, scores)] = imported(tmp_path / "run", tmp_path / "out").items()
    assert name == "lab__model/global-mmlu/letters-0shot/zh.parquet"
    assert [row["question_id"] for row in scores] == ["anatomy/0", "anatomy/1", "law/0", "law/1"]
    assert {row["group"] for row in scores} == {"law", "anatomy"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (detail(1, OPTIONS, [-1.0, float("nan"), -1.0], 0, TOKENS), "logprobs has nan as a log-likelihood"),
        (detail(1, OPTIONS, [-1.0, -2.0], 0, TOKENS), "has 2 values for 3 options"),
        (detail(1, OPTIONS, [-1.0, -2.0, -3.0], 3, TOKENS), "target is 3"),
        (detail(1, OPTIONS, [-1.0, -2.0, -3.0], 1, TOKENS, acc=1), "both must agree"),
        (detail(1, OPTIONS, [], 1, TOKENS, acc=1), "the task generates text"),
        (detail(1, OPTIONS[:1], [-1.0], 0, TOKENS), "1 option(s)"),
        (detail(0, OPTIONS, [-1.0, -2.0, -3.0], 0, TOKENS), "question 0 is already in row 0"),
    ],
)
def test_a_wrong_row_is_refused(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    path = log(tmp_path / "run", [detail(0, OPTIONS, [-1.0, -2.0, -3.0], 0, TOKENS), row])
    error = refused(tmp_path / "run", tmp_path / "out")
    assert error.startswith(f"{path}: row 1: ")
    assert message in error


def test_several_right_options_are_refused(tmp_path: Path) -> None:
    log(tmp_path / "run", [detail(0, OPTIONS, [-1.0, -2.0, -3.0], [0, 1], TOKENS, acc=1)])
    assert "2 right options" in refused(tmp_path / "run", tmp_path / "out")


def test_files_that_are_not_logs_are_refused(tmp_path: Path) -> None:
    assert "no such folder" in refused(tmp_path / "run", tmp_path / "out")
    path = log(tmp_path / "run", [{"a": 1}])
    assert "not a log of lighteval (columns a)" in refused(tmp_path / "run", tmp_path / "out")
    log(tmp_path / "run", [detail(0, OPTIONS, [-1.0, -2.0, -3.0], 0, TOKENS)])
    path.write_bytes(path.read_bytes()[:-30])
    assert "truncated or not a Parquet file" in refused(tmp_path / "run", tmp_path / "out")
    path.rename(path.with_name("details_new.parquet"))
    assert "its name must be details_TASK_TIME.parquet" in refused(tmp_path / "run", tmp_path / "out")


def test_columns_that_are_not_needed_are_not_read(tmp_path: Path) -> None:
    row = detail(
        0, OPTIONS, [-1.0, -2.0, -3.0], 0, TOKENS, input_tokens=[1, 2, 3], input="Examples. What is 0?"
    )
    path = log(tmp_path / "run", [row])
    assert "model_response" in pq.read_schema(path).names
    [scores] = imported(tmp_path / "run", tmp_path / "out").values()
    plain = log(tmp_path / "plain", [detail(0, OPTIONS, [-1.0, -2.0, -3.0], 0, TOKENS)])
    assert plain.is_file()
    [others] = imported(tmp_path / "plain", tmp_path / "second").values()
    # The checksum is that of the prompt with its examples.
    assert scores[0]["prompt_sha256"] != others[0]["prompt_sha256"]
