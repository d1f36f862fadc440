"""Local files of a study that do not exist are refused before any job."""

import pytest
from helpers.studies import BASE

from polycal.study.config_loading import ConfigError, merge, resolve


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with the files of ``BASE``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").mkdir()
    (tmp_path / "d").mkdir()
    (tmp_path / "b").write_text("")
    return tmp_path


def test_existing_files_are_accepted(folder):
    resolve(BASE, local_files=True)


def test_each_missing_file_has_a_sentence_with_its_key(folder):
    (folder / "m").rmdir()
    (folder / "m").write_text("a file where a model folder should be")
    (folder / "d").rmdir()
    (folder / "b").unlink()
    with pytest.raises(ConfigError) as refused:
        resolve(BASE, local_files=True)
    lines = str(refused.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == ["models.m.path", "data.d.path", "benchmarks.b.path"]
    assert "'m' is refused: there is no such folder" in lines[0]
    resolve(BASE)


def test_a_path_with_a_language_needs_a_file_for_each_scored_language(folder):
    raw = merge(
        BASE, {"benchmarks": {"b": {"path": "q/{language}.csv"}}, "grid": {"languages": ["en", "yo"]}}
    )
    (folder / "q").mkdir()
    (folder / "q/en.csv").write_text("")
    with pytest.raises(ConfigError) as refused:
        resolve(raw, local_files=True)
    assert str(refused.value).startswith("benchmarks.b.path: 'q/yo.csv' is refused")
    (folder / "q/yo.csv").write_text("")
    resolve(raw, local_files=True)


def test_entries_that_the_grid_does_not_use_may_be_missing(folder):
    raw = merge(
        BASE, {"models": {"n": {"path": "not-there"}}, "data": {"n": {"path": "n", "format": "alpaca"}}}
    )
    resolve(raw, local_files=True)
    with pytest.raises(ConfigError, match=r"^data\.n\.path: 'n' is refused"):
        resolve(merge(raw, {"next_token": {"data": ["n"]}}), local_files=True)


@pytest.mark.parametrize("path", ["~nobody-of-that-name/m", "m" * 5000, "m\x00"])
def test_an_impossible_path_is_refused_like_a_missing_one(folder, path):
    change = {
        "models": {"m": {"path": path}},
        "data": {"d": {"path": path}},
        "benchmarks": {"b": {"path": path}},
    }
    with pytest.raises(ConfigError) as refused:
        resolve(merge(BASE, change), local_files=True)
    lines = str(refused.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == ["models.m.path", "data.d.path", "benchmarks.b.path"]


def test_a_folder_of_questions_needs_a_file_for_each_language(folder):
    raw = merge(
        BASE, {"benchmarks": {"b": {"path": "q", "format": "file"}}, "grid": {"languages": ["en", "yo"]}}
    )
    (folder / "q").mkdir()
    (folder / "q/en.csv").write_text("")
    with pytest.raises(
        ConfigError, match=r"^benchmarks\.b\.path: 'q' is refused: no file .* 'yo' with the ending"
    ):
        resolve(raw, local_files=True)
    (folder / "q/yo.parquet").write_text("")
    resolve(raw, local_files=True)
