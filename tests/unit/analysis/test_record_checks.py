"""Score records are refused in a sentence before any is measured, if they cannot be shown together."""

from pathlib import Path

import pytest
from helpers import holes, score_records

from polycal.analysis import record_checks
from polycal.analysis.score_arrays import MeasureError
from polycal.artifacts import records


def rewritten(path: Path, cell: dict | None = None, rows: list | None = None) -> Path:
    """The record with another cell or other rows."""
    kept = records.metadata(path)["cell"], records.read_scores(path).to_pylist()
    return score_records.write(path, cell or kept[0], rows or kept[1])


def test_records_that_agree_share_their_questions(tmp_path: Path) -> None:
    found = record_checks.check(score_records.runs(tmp_path, n=8))
    assert [(record.run, record.cell["language"]) for record in found] == [
        (model, code) for model in ("small", "large") for code in ("de", "en", "gsw")
    ]
    assert found[0].gold is found[3].gold
    assert {record.normalise for record in found} == {"sum"}


def test_a_record_of_the_command_line_has_the_keys_that_it_lacks(tmp_path: Path) -> None:
    [path] = score_records.runs(tmp_path, ("m",), ("en",), n=8)
    cell = {"model": "m", "benchmark": "own", "language": "en"}
    rewritten(path, {**cell, "settings": {"candidates": "letters", "num_fewshot": 3}})
    [record] = record_checks.check([path])
    assert record.questions_key == ("own", "letters-3shot", "en")
    assert (record.run, record.cell["beta"]) == ("m", "none")


def test_the_same_condition_twice_is_refused(tmp_path: Path) -> None:
    files = score_records.runs(tmp_path, ("m",), ("en",), n=8)
    files += score_records.runs(tmp_path / "again", ("m",), ("en",), n=8)
    with pytest.raises(
        MeasureError, match=r"en\.parquet and .*en\.parquet hold the same cell: m, none, .*must differ"
    ):
        record_checks.check(files)


def test_runs_in_other_languages_are_refused(tmp_path: Path) -> None:
    files = score_records.runs(tmp_path, n=8)
    with pytest.raises(
        MeasureError, match=r"run 'small' has records in gsw and run 'large' has not.*same languages"
    ):
        record_checks.check(files[:-1])
    # other benchmarks are in tables of their own
    files[-3:] = score_records.runs(tmp_path, ("large",), ("en",), n=8, benchmark="other")
    assert len(record_checks.check(files)) == 4


def test_other_questions_and_other_right_options_are_refused(tmp_path: Path) -> None:
    files = score_records.runs(tmp_path, n=8)
    rows = records.read_scores(files[0]).to_pylist()
    rewritten(files[0], rows=rows[:-1])
    with pytest.raises(MeasureError, match=r"1 question\(s\) are in one of them only \(such as 'q7'\)"):
        record_checks.check(files)
    rewritten(files[0], rows=[{**row, "gold": 3 - row["gold"]} for row in rows])
    with pytest.raises(MeasureError, match="the right option of question 'q0' is"):
        record_checks.check(files)


def test_other_normalisations_are_refused_unless_one_is_given(tmp_path: Path) -> None:
    files = score_records.runs(tmp_path, languages=("en",), n=8)
    for path in files:
        rewritten(path, {**records.metadata(path)["cell"], "settings": {"candidates": "texts"}})
    rows = records.read_scores(files[0]).to_pylist()
    rewritten(files[0], rows=[{**row, "option_tokens": None} for row in rows])
    with pytest.raises(MeasureError, match="normalised by 'token' and 'byte'; must be the same"):
        record_checks.check(files)
    assert {record.normalise for record in record_checks.check(files, "byte")} == {"byte"}
    with pytest.raises(MeasureError, match="normalise 'token' needs the number of tokens"):
        record_checks.check(files, "token")


def test_a_failed_result_and_a_record_without_a_cell_are_refused(tmp_path: Path) -> None:
    first, second = score_records.runs(tmp_path, ("m",), ("de", "en"), n=8)
    cell = records.metadata(first)["cell"]
    holes.failures.write(first, {"stage": "score", "cell": cell}, holes.DIVERGED)
    with pytest.raises(MeasureError, match=r"de\.parquet: holds no scores, because finetune failed"):
        record_checks.check([first, second])
    records.write(first, records.read_scores(second), records.SCORE, {})
    with pytest.raises(MeasureError, match="its metadata holds no cell; must be a record of polycal score"):
        record_checks.check([first, second])


def test_a_reference_needs_a_run_to_compare_with(tmp_path: Path) -> None:
    found = record_checks.check(score_records.runs(tmp_path, n=8))
    record_checks.check_reference(found, "large")
    with pytest.raises(MeasureError, match="no record of run 'huge'; must be one of large, small"):
        record_checks.check_reference(found, "huge")
    with pytest.raises(
        MeasureError, match="no other run has a benchmark, protocol and language of run 'small'"
    ):
        record_checks.check_reference(found[:3], "small")
