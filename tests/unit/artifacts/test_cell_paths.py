"""The cell in a path."""

from pathlib import Path

from polycal.artifacts import cell_paths


def test_the_parts_of_a_path_with_a_key_are_the_cell():
    path = Path("results/scores/model=a/base_seed=none/data=b=c/language=en/scores.parquet")
    assert cell_paths.cell_in(path) == {"model": "a", "base_seed": "none", "data": "b=c", "language": "en"}
    assert cell_paths.cell_in(Path("somewhere/scores.parquet")) == {}
