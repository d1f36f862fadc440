"""Failed, missing, refused and incomparable records are holes; a problem of all records is an error."""

from pathlib import Path

import pytest
from helpers import holes
from helpers.score_records import cell, score_row, study, write

from polycal.analysis import measure, usable_records
from polycal.analysis.score_arrays import MeasureError
from polycal.artifacts import failures, records
from polycal.study import paths

KIND = measure._kind({})
ROWS = [score_row(f"q{number}", [-1.0, -2.0], 0) for number in range(3)]


def split(files, missing=()):
    return usable_records.split(KIND, files, missing)


def refused(tmp_path, rows, schema=records.SCORE, **other):
    """The reason why a record with these rows is a hole, in a study with one good record."""
    good = write(tmp_path / "good.parquet", cell("0"), ROWS)
    bad = tmp_path / "bad.parquet"
    records.write(bad, rows, schema, {"cell": cell(**other)})
    usable, found = split([good, bad])
    assert usable == [good]
    [hole] = found
    assert hole.stage == "measure"
    assert hole.cell["beta"] == "none"
    assert str(bad) in hole.reason
    return hole.reason


def test_good_records_are_sorted_by_cell_and_there_is_no_hole(tmp_path):
    files = study(tmp_path, 5)
    usable, found = split(files[::-1])
    assert found == []
    assert set(usable) == set(files)
    assert [records.metadata(path)["cell"]["beta"] for path in usable] == ["0"] * 4 + ["0.1"] * 4 + [
        "none"
    ] * 4


def test_a_failed_record_is_a_hole_with_the_stage_and_sentence_of_its_failure(tmp_path):
    files = study(tmp_path, 5)
    holes.fail(tmp_path, "0.1_42_yo")
    usable, [hole] = split(files)
    assert len(usable) == 11
    assert (hole.stage, hole.reason) == (holes.DIVERGED.stage, holes.DIVERGED.reason)
    assert (hole.cell["beta"], hole.cell["language"], hole.cell["seed"]) == ("0.1", "yo", "42")


def test_the_cell_of_a_missing_record_is_told_by_its_path(tmp_path):
    files = study(tmp_path, 5)
    path = tmp_path / holes.missing("0.2", "yo", seed="42")
    _, [hole] = split(files, [path])
    names = cell("0.2", "yo", seed="42")
    assert hole.cell == {name: names[name] for name in hole.cell}
    assert hole.stage == "score"
    assert "record is missing" in hole.reason
    with pytest.raises(MeasureError, match="its path does not name its cell"):
        split(files, [Path("somewhere/scores.parquet")])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "holds no question"),
        ([score_row("q0", [float("nan"), -1.0], 0)], "is not finite"),
        ([score_row("q0", [float("-inf"), -1.0], 0)], "is not finite"),
        ([score_row("q0", [-1.0], 0)], "a single option"),
        ([score_row("q0", [-1.0, -2.0], 2)], "gold is outside the options"),
        ([score_row("q0", [-1.0, -2.0], None)], "row 0: gold is empty"),
        ([score_row(None, [-1.0, -2.0], 0)], "row 0: question_id is empty"),
        ([ROWS[0], {**ROWS[1], "option_logprob": None}], "row 1: option_logprob is empty"),
        ([score_row("q0", [-1.0, -2.0], 0, option_tokens=[1])], "option_tokens and option_logprob differ in length"),
        ([score_row("q0", [-1.0, -2.0], 0, option_tokens=[1, None])], "a value of option_tokens is empty"),
        ([score_row("q0", [-1.0, -2.0], 0, option_bytes=[1, 0])], "option_bytes must be at least 1"),
        ([ROWS[0], ROWS[0]], "'q0' occurs twice"),
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_measured_is_a_hole(tmp_path, rows, words):
    assert words in refused(tmp_path, rows)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([-1.0, float("nan")], "is not finite"),
        ([-1.0], "differ in length"),
        ([-1.0, None], "a value of option_logprob_unconditional is empty"),
    ],
)
def test_unconditional_values_are_checked_too(tmp_path, values, words):
    schema = records.SCORE.append(
        records.pa.field(records.UNCONDITIONAL, records.OPTIONAL[records.UNCONDITIONAL])
    )
    rows = [{**row, records.UNCONDITIONAL: values} for row in ROWS]
    assert words in refused(tmp_path, rows, schema)


def test_a_broken_file_is_a_hole_where_its_path_names_the_cell(tmp_path):
    good = write(tmp_path / "good.parquet", cell("0"), ROWS)
    path = write(tmp_path / paths.SCORES.format(**cell()), cell(), ROWS)
    path.write_bytes(path.read_bytes()[:100])
    usable, [hole] = split([good, path])
    assert usable == [good]
    assert hole.cell["language"] == "en"
    assert "truncated or not a Parquet file" in hole.reason
    nameless = tmp_path / "nameless.parquet"
    nameless.write_bytes(path.read_bytes())
    with pytest.raises(records.RecordError, match=r"nameless\.parquet: truncated"):
        split([good, nameless])


def test_a_record_that_is_not_said_to_be_missing_must_be_there(tmp_path):
    path = tmp_path / holes.missing()
    with pytest.raises(records.RecordError, match="no such file"):
        split([path])
    with pytest.raises(records.RecordError, match="no such file"):
        usable_records.checksums(KIND, [path])


def asked(tmp_path, *ids):
    """One record per seed, with the questions ``ids``."""
    return [
        write(
            tmp_path / f"{n}.parquet", cell("0", seed=str(n)), [score_row(i, [-1.0, -2.0], 0) for i in words]
        )
        for n, words in enumerate(ids)
    ]


def test_most_records_decide_which_questions_are_compared(tmp_path):
    files = asked(tmp_path, "abx", "abc", "cab")
    usable, [hole] = split(files)
    assert usable == files[1:]
    assert hole.cell["seed"] == "0"
    assert hole.reason == (
        f"{files[0]}: its questions are not those of {files[1]}, which 2 of 3 records of llama, mmlu-prox,"
        " texts-0shot, en have (1 only here, 1 only there, such as 'c'); make all from the same ones."
    )


def test_of_equally_many_the_first_in_order_is_measured(tmp_path):
    files = asked(tmp_path, "abc", "abx")
    usable, [hole] = split(files[::-1])
    assert usable == files[:1]
    assert "which 1 of 2 records" in hole.reason


def test_other_models_and_languages_may_have_other_questions(tmp_path):
    files = [
        write(tmp_path / "a.parquet", cell(), ROWS),
        write(tmp_path / "b.parquet", cell(language="yo"), ROWS[:2]),
        write(tmp_path / "c.parquet", cell(model="other"), ROWS[1:]),
    ]
    assert split(files)[1] == []


def test_two_records_of_one_cell_are_an_error_even_if_one_is_a_hole(tmp_path):
    files = study(tmp_path / "a", 5)
    with pytest.raises(MeasureError, match="hold the same cell: llama, none"):
        split([*files, study(tmp_path / "b", 5)[0]])
    with pytest.raises(MeasureError, match="hold the same cell"):
        split(files, [holes.missing("0", "yo", seed="42")])


def test_without_any_usable_record_there_is_one_sentence(tmp_path):
    files = study(tmp_path, 5, languages=("en",))
    holes.fail(tmp_path, "0_42_en", "0.1_42_en", "none_none_en")
    with pytest.raises(MeasureError) as error:
        split(files)
    assert str(error.value) == (
        "none of the 3 records can be measured; the first, llama, none, alpaca, paper, 0, 42, mmlu-prox, texts-0shot,"
        f" en: finetune: {holes.DIVERGED.reason}"
    )
    with pytest.raises(MeasureError, match="no record of polycal score to measure"):
        split([])


def test_checksums_cover_the_reason_of_a_failure(tmp_path):
    files = study(tmp_path, 5, languages=("en",))
    before = usable_records.checksums(KIND, files)
    assert before == {str(path): records.metadata(path)["content"] for path in files}
    path = tmp_path / "0_42_en.parquet"
    found = []
    for reason in ("one.", "another."):
        holes.fail(tmp_path, "0_42_en", failure=failures.Failure("score", reason))
        found.append(usable_records.checksums(KIND, files))
        assert found[-1][str(path)].split(" ", 1) == [records.metadata(path)["content"], f"score: {reason}"]
    assert found[0] != found[1]
    assert {key: found[0][key] for key in before if key != str(path)} == {
        key: before[key] for key in before if key != str(path)
    }
