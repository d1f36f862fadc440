"""Cards and folders of data set repositories."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
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
def test_the_files_of_a_configuration_are_read_from_the_card(
    head: str, config: str | None, splits: dict[str, list[str]] | None
) -> None:
    assert repositories.card_splits(f"---\n{head}---\n# Card\n", config, "a/d") == splits


def test_a_card_without_or_with_broken_yaml() -> None:
    assert repositories.card_splits("# Only words\n", None, "a/d") is None
    with pytest.raises(RecordError, match="a/d: the card's YAML is broken"):
        repositories.card_splits("---\n{a: [\n---\n", None, "a/d")
    with pytest.raises(RecordError, match="a/d: the card's YAML is broken"):
        repositories.card_splits("---\na: " + "[" * 5000 + "]" * 5000 + "\n---\n", None, "a/d")
    several = "---\nconfigs:\n- config_name: en\n- config_name: yo\n---\n"
    with pytest.raises(RecordError, match="no configuration 'default'; the data set has en, yo"):
        repositories.card_splits(several, None, "a/d")


def test_a_repository_needs_data_files(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no such folder"):
        repositories.read_repository(tmp_path / "none")
    with pytest.raises(RecordError, match="the data files cannot be found"):
        repositories.read_repository(tmp_path)


@pytest.mark.parametrize("name", ["no", "on", "y", "007", "1.10", "2024-05-01", "1e3", "0x1F", "0o7", "1_0"])
def test_names_of_configurations_and_splits_are_texts(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / "en").mkdir()
    for language in ("en", name):
        pq.write_table(pa.table({"question": [f"in {language}"]}), tmp_path / language / "test-0.parquet")
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: en\n  data_files:\n  - split: test\n    path: en/test-*\n"
        f"- config_name: {name}\n  data_files:\n  - split: {name}\n    path: {name}/test-*\n---\n"
    )
    card = (tmp_path / "README.md").read_text()
    assert repositories.card_splits(card, name, "a/d") == {name: [f"{name}/test-*"]}
    if name.isalpha():
        splits = repositories.read_repository(tmp_path, name)
        assert [row["question"] for row in splits[name].rows] == [f"in {name}"]
    assert [row["question"] for row in repositories.read_repository(tmp_path, "en")["test"].rows] == ["in en"]


@pytest.mark.parametrize(
    ("configs", "sentence"),
    [
        ("configs: en", "configs must be a list, each with a config_name"),
        ("configs:\n- name: en", "configs must be a list, each with a config_name"),
        ("configs:\n- config_name: en\n- config_name: en", "the card names a configuration twice"),
        ("configs:\n- config_name: en\n  data_files:\n  - path: a", "'en' needs a split and a path"),
        (
            "configs:\n- config_name: en\n  data_files:\n  - {split: no, path: a}\n  - {split: no, path: b}",
            "the data_files of 'en' name a split twice",
        ),
    ],
)
def test_ambiguous_configurations_are_refused(configs: str, sentence: str) -> None:
    with pytest.raises(RecordError, match=f"a/d: .*{sentence}"):
        repositories.card_splits(f"---\n{configs}\n---\n", "en", "a/d")


@pytest.mark.parametrize(
    "path",
    [
        "../x/*",
        "en/../../x",
        "/etc/*",
        "https://example.org/x.parquet",
        "hf://datasets/a/b/x",
        "zip://a::b",
        "..\\\\x",
    ],
)
@pytest.mark.parametrize(
    "form", ['"{}"', '["en/a", "{}"]', '{{test: "{}"}}', '[{{split: test, path: "{}"}}]']
)
def test_a_card_with_files_outside_its_repository_is_refused(path: str, form: str) -> None:
    card = f"---\nconfigs:\n- config_name: en\n  data_files: {form.format(path)}\n---\n"
    with pytest.raises(RecordError, match=r"a/d: the data_files of 'en' name .*; each must be a path inside"):
        repositories.card_splits(card, "en", "a/d")


@pytest.mark.parametrize(
    "data_files", ["{test: null}", "{test: {a: b}}", "[{split: test, path: null}]", "[[a]]"]
)
def test_a_card_whose_files_are_not_paths_is_refused(data_files: str) -> None:
    card = f"---\nconfigs:\n- config_name: en\n  data_files: {data_files}\n---\n"
    with pytest.raises(RecordError, match=r"a/d: .*data_files of 'en'"):
        repositories.card_splits(card, "en", "a/d")


def test_a_missing_column_in_one_file_of_a_split_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train-0.csv").write_text("a,b\n1,2\n")
    (tmp_path / "train-1.csv").write_text("a,c\n3,4\n")
    split = repositories.read_repository(tmp_path)["train"]
    with pytest.raises(RecordError, match=r"row 1: column 'b' is missing \(found a, c\)"):
        list(split.numbered(["a", "b"]))
