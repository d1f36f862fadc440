"""Records of questions without options: what is refused, and in which words."""

import pytest

from polycal.artifacts import open_records, records

QUESTION = {"question_id": "1", "group": "g", "question": "?", "answers": ["a"], "split": "test"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"answers": []}, r"row 1 \(question_id '2'\): an accepted answer is missing or empty"),
        ({"answers": ["a", " "]}, r"row 1 .*an accepted answer is missing or empty"),
        ({"split": "train"}, r"row 1 .*split is 'train', but must be 'test' or 'examples'"),
        ({"question_id": "1"}, r"row 1 .*this id occurs twice in split 'test'"),
    ],
)
def test_a_broken_question_is_refused(tmp_path, change, words):
    rows = [QUESTION, {**QUESTION, "question_id": "2", **change}]
    records.write(tmp_path / "q", rows, open_records.OPEN_QUESTION)
    with pytest.raises(records.RecordError, match=words):
        open_records.read_questions(tmp_path / "q")


def test_questions_with_and_without_options_are_distinguished(tmp_path):
    records.write(tmp_path / "open", [QUESTION], open_records.OPEN_QUESTION)
    records.write(tmp_path / "closed", [], records.QUESTION)
    assert not open_records.has_options(tmp_path / "open")
    assert open_records.has_options(tmp_path / "closed")
    with pytest.raises(
        records.RecordError, match="not a question without options record: column 'answers' is missing"
    ):
        open_records.read_questions(tmp_path / "closed")
    (tmp_path / "open").write_text("words")
    with pytest.raises(records.RecordError, match="truncated or not a Parquet file"):
        open_records.has_options(tmp_path / "open")
    with pytest.raises(records.RecordError, match="no such file"):
        open_records.has_options(tmp_path / "none")
