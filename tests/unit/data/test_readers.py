"""Rows of Parquet, csv and JSON files, and which broken files are refused."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polycal.artifacts.records import RecordError
from polycal.data import json_values, readers


@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_array_is_read_across_pieces(tmp_path: Path, indent: int | None) -> None:
    # The objects have many sizes, and the largest spans two pieces of a megabyte. So escapes and multi-byte
    # characters occur where the pieces meet.
    written = [{"n": n, "text": 'é"\\ \n文' * (n * n % 977)} for n in range(700)] + [
        {"text": "x" * 2_500_000}
    ]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(written, indent=indent, ensure_ascii=False), encoding="utf-8")
    assert list(readers.read_file(path).rows) == written
    path.write_text(" [ ] ")
    assert list(readers.read_file(path).rows) == []


def test_json_lines_may_have_a_byte_order_mark_and_empty_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('\ufeff{"a": 1}\n\n{"a": null, "b": [1]}', encoding="utf-8")
    assert list(readers.read_file(path).rows) == [{"a": 1}, {"a": None, "b": [1]}]
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(RecordError, match="not UTF-8 text"):
        list(readers.read_file(path).rows)


def test_csv_cells_may_contain_line_breaks_quotes_and_long_texts(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('a,b\n"one\ntwo","say ""hi"""\n,' + "x" * 200_000 + "\n")
    assert list(readers.read_file(path).rows) == [
        {"a": "one\ntwo", "b": 'say "hi"'},
        {"a": None, "b": "x" * 200_000},
    ]


def test_the_error_for_a_missing_column_suggests_a_similar_name(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("id,quesion\n1,2\n")
    with pytest.raises(
        RecordError, match=r"'question' is missing \(found id, quesion\); is 'quesion' meant\?"
    ):
        list(readers.read_file(path).numbered(["question"]))
    with pytest.raises(RecordError, match="no such file"):
        readers.read_file(tmp_path / "none.csv")


def read(path: Path, content: bytes | str) -> list[dict[str, object]]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(readers.read_file(path).numbered([]))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            '[{"a": 1}]\n[{"a": 2}, {"a": 3}]',
            "line 2: there is text after the end of the array of 1 elements",
        ),
        ('[\n{"a": 1}\n]\n\n{"a": 2}', "line 5: there is text after the end of the array"),
        ('[{"a": 1}] and more', "line 1: there is text after the end"),
        ('[]\n[{"a": 1}]', "line 2: there is text after the end of the array of 0 elements"),
        (
            '[{"a": 1}\n{"a": 2}]',
            r"element 1: truncated or not valid JSON: ',' or ']' is expected \(line 2\)",
        ),
        ('[{"a": 1},\n]', r"element 1: truncated or not valid JSON: Expecting value \(line 2\)"),
        ('[{"a": 1}', "element 1: truncated or not valid JSON"),
        ("[1]", "row 0: must be a JSON object, not int"),
        ("[" * 3 + "]" * 3, "row 0: must be a JSON object, not list"),
        ('{"a": 1}{"a": 2}', "line 1: not valid JSON: Extra data.*one object per line"),
        ('{"a": 1}\n[{"a": 2}]', "row 1: must be a JSON object, not list"),
        ('{\n"rows": [{"a": 1}]\n}', "line 1: not valid JSON.*one array of objects, or one object per line"),
        ('{"a": 1}\nthe end', "line 2: not valid JSON"),
        ('{"a": "A", "b": 1, "a": "B"}', "line 1: the key 'a' occurs twice with different values"),
        ('[{"c": {"a": "A", "a": "B"}}]', "element 0: the key 'a' occurs twice with different values"),
        ('{"a": 1}\n' + "[" * 100_000, "line 2: lists or objects are nested too deeply"),
        ('[{"a": 1}, ' + '{"b":' * 100_000, "element 1: lists or objects are nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "line 1: a whole number has too many digits"),
        ("[0, " + "9" * 5000 + "]", "element 1: a whole number has too many digits|row 0: must be a JSON"),
    ],
)
@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_broken_json_is_refused(tmp_path: Path, content: str, sentence: str, suffix: str) -> None:
    with pytest.raises(RecordError, match=sentence):
        read(tmp_path / f"rows.{suffix}", content)


def test_a_number_that_spans_two_pieces_is_read_completely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_values, "PIECE_CHARACTERS", 3)
    path = tmp_path / "rows.json"
    path.write_text('[ {"a": 1, "a": 1}, 12345 ,\n678]\n')
    assert list(readers.read_file(path).rows) == [{"a": 1}, 12345, 678]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_two_columns_with_one_name_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows.{suffix}"
    if suffix == "csv":
        path.write_text("id,answer,question,answer\n1,A,?,B\n")
    else:
        columns = [pa.array(["1"]), pa.array(["A"]), pa.array(["B"])]
        pq.write_table(pa.Table.from_arrays(columns, names=["id", "answer", "answer"]), path)
    with pytest.raises(RecordError, match=rf"rows\.{suffix}: column 'answer' occurs 2 times; the names"):
        readers.read_file(path)


def test_columns_without_a_name_may_follow_the_last_one(tmp_path: Path) -> None:
    rows = read(tmp_path / "rows.csv", "id,answer,,\n1,A,,\n")
    assert [(row["id"], row["answer"]) for _, row in rows] == [("1", "A")]


TEXT = "id,question\n1,Où naît la Garonne ?\n2,日本語 \U0001f30d\n"


@pytest.mark.parametrize("name", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_unicode_files_are_read(tmp_path: Path, name: str) -> None:
    mark = "\ufeff" if name[-2:] in ("le", "be") else ""
    rows = read(tmp_path / "rows.csv", (mark + TEXT).encode(name))
    assert [row for _, row in rows] == [
        {"id": "1", "question": "Où naît la Garonne ?"},
        {"id": "2", "question": "日本語 \U0001f30d"},
    ]
    for suffix, text in (("jsonl", '{"a": "né"}\n{"a": "日"}'), ("json", '[{"a": "né"}, {"a": "日"}]')):
        rows = read(tmp_path / f"rows.{suffix}", (mark + text).encode(name))
        assert [row for _, row in rows] == [{"a": "né"}, {"a": "日"}]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (TEXT.split("2,")[0].encode("cp1252"), "line 2, byte 15 is not UTF-8 text; UTF-8, with or without"),
        ("é,b\n1,2\n".encode("latin-1"), "line 1, byte 0 is not UTF-8 text"),
        (TEXT.encode("utf-16-le"), "byte 1 is zero, so this is not text, or UTF-16 without a mark; UTF-8"),
        (TEXT.encode("utf-32"), "is UTF-32 text; UTF-8, with or without"),
        ((TEXT + "3,x").encode("utf-16")[:-1], "line 4, byte 9. is not UTF-16 text"),
        (b"id,question\n" + b"1,x\n" * 400_000 + b"2,\x93x\x94\n", "line 400002, byte 1600014 is not UTF-8"),
    ],
)
def test_another_encoding_is_refused_with_line_and_byte(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    with pytest.raises(RecordError, match=rf"rows\.csv: {sentence}"):
        read(tmp_path / "rows.csv", content)


def test_parquet_text_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    latin = pa.array([b"a", "é".encode("latin-1")]).view(pa.string())
    pq.write_table(pa.table({"question": latin}), path)
    with pytest.raises(RecordError, match=r"rows\.parquet: a text of column 'question' is not UTF-8"):
        list(readers.read_file(path).rows)
