import math

import numpy as np
import pyarrow as pa
import pytest
from helpers.score_records import cell, score_row, write

from polycal.analysis import score_arrays
from polycal.artifacts import records
from polycal.metrics import probability_scores


@pytest.fixture
def path(tmp_path):
    rows = [
        score_row("a", [-1.0, -4.0], 0, option_tokens=[1, 4], option_bytes=[2, 8]),
        score_row("b", [-3.0, -3.0, -6.0], 2, option_tokens=[1, 3, 2], option_bytes=[3, 6, 6]),
    ]
    return write(tmp_path / "scores.parquet", cell(), rows)


def test_arrays_are_padded_beyond_the_options(path):
    found = score_arrays.read(path)
    assert found.logprob.tolist() == [[-1.0, -4.0, -math.inf], [-3.0, -3.0, -6.0]]
    assert found.options.tolist() == [2, 3]
    assert found.gold.tolist() == [0, 2]
    assert found.candidates == "texts"
    assert found.cell["language"] == "en"


@pytest.mark.parametrize("normalise", ["sum", "token", "byte"])
def test_distributions_are_those_of_calibration(path, normalise):
    found = score_arrays.read(path)
    rows = records.read_scores(path).to_pylist()
    expected = probability_scores.option_probabilities(
        [row["option_logprob"] for row in rows],
        normalise,
        option_tokens=[row["option_tokens"] for row in rows],
        option_bytes=[row["option_bytes"] for row in rows],
    )
    assert np.exp(found.log_probabilities(normalise)) == pytest.approx(expected, abs=1e-15)


def test_pmi_takes_the_candidates_own_probability_off(tmp_path):
    extra = "option_logprob_unconditional"
    row = {**score_row("a", [-1.0, -2.0], 0), extra: [-1.0, -4.0]}
    schema = records.SCORE.append(pa.field(extra, records.OPTIONAL[extra]))
    path = tmp_path / "scores.parquet"
    records.write(path, [row], schema, {"cell": cell()})
    found = score_arrays.read(path)
    assert found.normalisations(["sum"]) == ["sum", "pmi"]
    p = np.exp(found.log_probabilities("pmi"))[0]
    assert p == pytest.approx(np.exp([0.0, 2.0]) / np.exp([0.0, 2.0]).sum())


def test_pmi_needs_its_column(path):
    with pytest.raises(score_arrays.MeasureError, match="needs option_logprob_unconditional"):
        score_arrays.read(path).log_probabilities("pmi")
    with pytest.raises(score_arrays.MeasureError, match="normalise is 'word'"):
        score_arrays.read(path).log_probabilities("word")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "holds no question"),
        ([score_row("a", [-1.0], 0)], "row 0: a single option"),
        ([score_row("a", [-1.0, -2.0], 0)] * 2, "'a' occurs twice"),
        ([score_row("a", [-1.0, -2.0], 0, option_tokens=[0, 1])], "row 0: option_tokens must be at least 1"),
        ([score_row("a", [-1.0, -2.0], 0, option_bytes=[1, 0])], "row 0: option_bytes must be at least 1"),
    ],
)
def test_bad_files_are_named(tmp_path, rows, words):
    path = write(tmp_path / "scores.parquet", cell(), rows)
    with pytest.raises(score_arrays.MeasureError, match=words) as error:
        score_arrays.read(path)
    assert str(path) in str(error.value)


def test_nan_is_refused(tmp_path):
    path = write(tmp_path / "scores.parquet", cell(), [score_row("a", [-1.0, math.nan], 0)])
    with pytest.raises(records.RecordError, match="not finite"):
        score_arrays.read(path)


def test_a_cell_without_a_base_seed_has_none(tmp_path):
    old = {name: value for name, value in cell().items() if name != "base_seed"}
    path = write(tmp_path / "scores.parquet", old, [score_row("a", [-1.0, -2.0], 0)])
    assert score_arrays.cell_of(path)["base_seed"] == "none"
    assert score_arrays.read(path).cell["base_seed"] == "none"


def test_a_file_without_a_cell_is_refused(tmp_path):
    path = tmp_path / "scores.parquet"
    records.write(path, [score_row("a", [-1.0, -2.0], 0)], records.SCORE, {})
    with pytest.raises(score_arrays.MeasureError, match="holds no cell"):
        score_arrays.cell_of(path)
    records.write(path, [score_row("a", [-1.0, -2.0], 0)], records.SCORE, {"cell": {"model": "m"}})
    with pytest.raises(score_arrays.MeasureError, match="lacks 'data'"):
        score_arrays.cell_of(path)


@pytest.mark.parametrize("given", ["x", [1], {"settings": "x"}])
def test_a_cell_that_is_no_mapping_is_refused(tmp_path, given):
    path = tmp_path / "s.parquet"
    records.write(path, [], records.SCORE)
    with pytest.raises(
        score_arrays.MeasureError, match="the cell in its metadata is no mapping with settings"
    ):
        score_arrays.read(path, given)


LETTERS = cell(settings={"candidates": "letters"})


def test_the_mass_on_the_letters_is_the_sum_of_their_probabilities(tmp_path):
    rows = [
        score_row("a", np.log([0.5, 0.25]).tolist(), 0),
        score_row("b", np.log([0.1, 0.2, 0.3]).tolist(), 2),
        score_row("c", np.log([0.75, 0.25 + 2e-7]).tolist(), 2 - 1),
    ]
    mass = score_arrays.read(write(tmp_path / "scores.parquet", LETTERS, rows)).candidate_mass()
    assert mass == pytest.approx([0.75, 0.6, 1.0], abs=1e-7)
    assert mass.max() <= 1.0


def test_texts_and_letters_of_equal_tokens_have_no_mass(path, tmp_path):
    assert score_arrays.read(path).candidate_mass() is None
    rows = [score_row("a", np.log([0.6, 0.6]).tolist(), 0)]
    assert score_arrays.read(write(tmp_path / "equal.parquet", LETTERS, rows)).candidate_mass() is None


def test_p_true_is_renormalised_over_the_options_and_has_no_length(tmp_path):
    rows = [score_row("a", np.log([0.9, 0.3, 0.3]).tolist(), 0, option_tokens=None)]
    asked = cell(settings={"candidates": "true_words"})
    found = score_arrays.read(write(tmp_path / "scores.parquet", asked, rows))
    assert np.exp(found.log_probabilities("sum")) == pytest.approx(np.array([[0.6, 0.2, 0.2]]), abs=1e-7)
    assert found.normalisations(["sum", "token", "byte"]) == ["sum"]
    assert found.candidate_mass() is None
    with pytest.raises(score_arrays.MeasureError, match=r"the record holds P\(True\); must be 'sum'"):
        found.log_probabilities("byte")
