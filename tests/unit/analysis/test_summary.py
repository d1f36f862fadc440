import pytest
from helpers.measured import measured_cells
from helpers.score_records import score_row, study

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
