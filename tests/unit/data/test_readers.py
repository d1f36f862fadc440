"""Rows of Parquet, csv and JSON files."""

import json
from pathlib import Path

import pytest

from polycal.artifacts.records import RecordError
from polycal.data import readers


@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_array_is_read_across_pieces(tmp_path: Path, indent: int | None) -> None:
    # Objects of all sizes, the largest over two pieces of a megabyte; escapes and multi-byte text at the
    # seams.
    written = [{"n": n, "text": 'é"\\ \n文' * (n * n % 977)} for n in range(700)] + [
        {"text": "x" * 2_500_000}
    ]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(written, indent=indent, ensure_ascii=False), encoding="utf-8")
    assert list(readers.read_file(path).rows) == written
    path.write_text(" [ ] ")
    assert list(readers.read_file(path).rows) == []


def test_json_lines_may_have_a_mark_and_empty_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('\ufeff{"a": 1}\n\n{"a": null, "b": [1]}', encoding="utf-8")
    assert list(readers.read_file(path).rows) == [{"a": 1}, {"a": None, "b": [1]}]
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(RecordError, match="not UTF-8 text"):
        list(readers.read_file(path).rows)


def test_csv_cells_may_hold_lines_quotes_and_long_texts(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('a,b\n"one\ntwo","say ""hi"""\n,' + "x" * 200_000 + "\n")
    assert list(readers.read_file(path).rows) == [
        {"a": "one\ntwo", "b": 'say "hi"'},
        {"a": None, "b": "x" * 200_000},
    ]


def test_missing_columns_are_named_with_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("id,quesion\n1,2\n")
    with pytest.raises(
        RecordError, match=r"'question' is missing \(found id, quesion\); is 'quesion' meant to be it\?"
    ):
        list(readers.read_file(path).numbered(["question"]))
    with pytest.raises(RecordError, match="no such file"):
        readers.read_file(tmp_path / "none.csv")
