"""Records: their schemas, checks, manifests and bytes."""

import pyarrow.parquet as pq
import pytest

from polycal.artifacts import records

QUESTION = {
    "question_id": "1",
    "group": "g",
    "question": "?",
    "options": ["a", "b"],
    "gold": 0,
    "split": "test",
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"options": ["a"]}, r"row 1 .*1 option"),
        ({"options": ["a", "", "c"]}, r"row 1 .*option 1 is empty"),
        ({"gold": 2}, r"row 1 .*gold is 2, but must be 0 to 1"),
        ({"split": "train"}, r"row 1 .*split is 'train'"),
        ({"question_id": "1"}, r"row 1 .*occurs twice"),
    ],
)
def test_a_broken_question_is_refused(tmp_path, change, words):
    records.write(tmp_path / "q", [QUESTION, {**QUESTION, "question_id": "2", **change}], records.QUESTION)
    with pytest.raises(records.RecordError, match=words):
        records.read_questions(tmp_path / "q")


def test_a_truncated_record_is_refused_and_equal_rows_have_equal_bytes(tmp_path):
    first = records.write(tmp_path / "a", [QUESTION], records.QUESTION, {"x": 1})
    assert first == records.write(tmp_path / "b", [QUESTION], records.QUESTION, {"x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert records.metadata(tmp_path / "a") == {"x": 1, "content": first}
    (tmp_path / "a").write_bytes((tmp_path / "b").read_bytes()[:-20])
    with pytest.raises(records.RecordError, match="truncated"):
        records.read_questions(tmp_path / "a")


def test_only_files_of_polycal_are_records(tmp_path):
    path = tmp_path / "q.parquet"
    assert not records.is_record(path)
    records.write(path, [QUESTION], records.QUESTION)
    assert records.is_record(path)
    assert records.content(path) == records.metadata(path)["content"]
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    assert not records.is_record(path)
    with pytest.raises(records.RecordError, match="not written by polycal"):
        records.metadata(path)
    path.write_text("words")
    assert not records.is_record(path)
    for read in (records.metadata, records.content, records.read_questions):
        with pytest.raises(records.RecordError, match="truncated or not a Parquet file"):
            read(path)
        with pytest.raises(records.RecordError, match="no such file"):
            read(tmp_path / "none.parquet")


@pytest.mark.parametrize(
    ("manifest", "words"),
    [("{broken", "is not valid JSON"), ("[1]", "is not a manifest of polycal"), ("{}", "is not a manifest")],
)
def test_metadata_that_is_not_a_manifest_is_refused(tmp_path, manifest, words):
    path = tmp_path / "q.parquet"
    records.write(path, [QUESTION], records.QUESTION)
    pq.write_table(pq.read_table(path).replace_schema_metadata({"polycal": manifest}), path)
    with pytest.raises(records.RecordError, match=f"its metadata under 'polycal' {words}"):
        records.metadata(path)


def test_a_record_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "e.parquet"
    records.write(path, [{"question_id": "1", "embedding": [1.0, 2.0]}], records.EMBEDDING)
    assert records.read_embeddings(path).num_rows == 1
    with pytest.raises(records.RecordError, match="not a question record: column 'group' is missing"):
        records.read_questions(path)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "contains no embedding"),
        ([[1.0], [1.0, 2.0]], "differ in length"),
        ([[1.0], [float("nan")]], "missing or not finite"),
    ],
)
def test_embeddings_are_checked(tmp_path, rows, words):
    path = tmp_path / "e.parquet"
    table = [{"question_id": str(number), "embedding": row} for number, row in enumerate(rows)]
    records.write(path, table, records.EMBEDDING)
    with pytest.raises(records.RecordError, match=words):
        records.read_embeddings(path)


SCORED = {
    "question_id": "1",
    "group": "g",
    "gold": 0,
    "option_logprob": [-1.0, -2.0],
    "option_tokens": [1, 1],
    "option_bytes": [1, 1],
    "prompt_sha256": "0",
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"option_logprob": None}, "row 0: option_logprob is empty"),
        ({"option_logprob": [None, -1.0]}, "a value of option_logprob is empty"),
        ({"option_tokens": [None, 1]}, "a value of option_tokens is empty"),
        ({"gold": None}, "row 0: gold is empty"),
        ({"question_id": None}, "row 0: question_id is empty"),
        ({"gold": 2}, "row 0: gold is outside the options"),
        ({"option_bytes": [1]}, "row 0: option_bytes and option_logprob differ in length"),
        ({"option_logprob": [float("-inf"), -1.0]}, "a value of option_logprob is not finite"),
    ],
)
def test_scores_are_checked(tmp_path, change, words):
    path = tmp_path / "s.parquet"
    records.write(path, [SCORED], records.SCORE)
    assert records.read_scores(path).num_rows == 1
    records.write(path, [{**SCORED, **change}], records.SCORE)
    with pytest.raises(records.RecordError, match=words):
        records.read_scores(path)
