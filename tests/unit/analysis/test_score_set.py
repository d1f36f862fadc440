import pytest
from helpers.score_records import SETTINGS, cell, score_row, study, write

from polycal.analysis.score_arrays import MeasureError, cell_of
from polycal.analysis.score_set import ScoreSet

ROW = [score_row("a", [0.0, -1.0], 0)]


def test_files_are_grouped_by_condition_in_the_order_of_their_cells(tmp_path):
    score_set = ScoreSet(study(tmp_path, 5)[::-1], SETTINGS)
    assert [len(paths) for paths in score_set.by_condition()] == [4, 4, 4]
    languages = [cell_of(path)["language"] for path in score_set.by_condition()[0]]
    assert languages == ["de", "en", "hi", "yo"]


def test_models_of_two_base_seeds_are_two_conditions(tmp_path):
    files = [
        write(tmp_path / f"{seed}.parquet", cell(base_seed=seed), [score_row("a", [0.0, -1.0], 0)])
        for seed in ("0", "1")
    ]
    assert ScoreSet(files, SETTINGS).by_condition() == [[files[0]], [files[1]]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: [], "no Score file"),
        (
            lambda folder: [write(folder / "x.parquet", cell(language="xx"), ROW)],
            "resource level of language 'xx'",
        ),
        (
            lambda folder: [write(folder / "x.parquet", cell(settings={"candidates": "songs"}), ROW)],
            "no normalisation is set for candidates 'songs'",
        ),
    ],
)
def test_files_that_cannot_share_a_table_are_named(tmp_path, change, words):
    with pytest.raises(MeasureError, match=words):
        ScoreSet(change(tmp_path / "in"), SETTINGS)
