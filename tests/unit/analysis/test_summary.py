import numpy as np
import pytest
from helpers.measured import measured_cells
from helpers.score_records import cell, score_row, study, write

from polycal.analysis import bootstrap, score_arrays
from polycal.analysis.summary import summary
from polycal.artifacts import records


def test_summary_takes_any_files(tmp_path):
    files = study(tmp_path / "scores")
    lone = tmp_path / "lone.parquet"
    records.write(lone, [score_row("a", [-1.0, -2.0], 0)], records.SCORE, {"cell": {"model": "mine"}})
    table = summary([files[0], lone])
    assert table["n"].tolist() == [150, 1]
    assert table["model"].tolist() == ["llama", "mine"]
    cell = score_arrays.read(files[0]).cell
    expected = next(one for one in measured_cells(files) if one.cell == cell).row
    for metric in bootstrap.METRICS:
        assert table[metric][0] == pytest.approx(expected[metric], abs=1e-14)


def test_the_mass_on_the_letters_is_a_column_where_it_is_defined(tmp_path):
    rows = [score_row("a", np.log([0.5, 0.25]).tolist(), 0), score_row("b", np.log([0.1, 0.2]).tolist(), 0)]
    letters = write(tmp_path / "letters.parquet", cell(settings={"candidates": "letters"}), rows)
    texts = write(tmp_path / "texts.parquet", cell(), rows)
    assert "candidate_mass" not in summary([texts])
    masses = summary([letters, texts])["candidate_mass"]
    assert masses[0] == pytest.approx(0.525, abs=1e-7)
    assert np.isnan(masses[1])
