"""Cards and folders of data set repositories."""

from pathlib import Path

import pytest

from polycal.artifacts.records import RecordError
from polycal.data import repositories


@pytest.mark.parametrize(
    ("head", "config", "splits"),
    [
        (
            "configs:\n- config_name: default\n  data_files: data/*.parquet\n",
            None,
            {"train": ["data/*.parquet"]},
        ),
        (
            "configs:\n- config_name: en\n  data_files:\n  - split: test\n    path: [a, b]\n",
            None,
            {"test": ["a", "b"]},
        ),
        (
            "configs:\n- config_name: en\n  data_files:\n    test: a\n"
            "- config_name: yo\n  data_files: [b, c]\n",
            "yo",
            {"train": ["b", "c"]},
        ),
        ("configs:\n- config_name: en\n", "en", None),
        ("license: mit\n", None, None),
    ],
)
def test_a_card_says_which_files_a_configuration_has(
    head: str, config: str | None, splits: dict[str, list[str]] | None
) -> None:
    assert repositories.card_splits(f"---\n{head}---\n# Card\n", config, "a/d") == splits


def test_a_card_that_says_nothing_or_nonsense() -> None:
    assert repositories.card_splits("# Only words\n", None, "a/d") is None
    with pytest.raises(RecordError, match="a/d: the card's YAML is broken"):
        repositories.card_splits("---\n{a: [\n---\n", None, "a/d")
    several = "---\nconfigs:\n- config_name: en\n- config_name: yo\n---\n"
    with pytest.raises(RecordError, match="no configuration 'default'; the data set has en, yo"):
        repositories.card_splits(several, None, "a/d")


def test_a_repository_needs_data_files(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no such folder"):
        repositories.read_repository(tmp_path / "none")
    with pytest.raises(RecordError, match="data files cannot be had"):
        repositories.read_repository(tmp_path)
