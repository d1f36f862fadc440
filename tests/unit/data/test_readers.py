import json
from pathlib import Path

import pytest

from polycal.artifacts.records import RecordError
from polycal.data import readers, repositories


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
            "configs:\n- config_name: en\n  data_files:\n    test: a\n- config_name: yo\n  data_files: [b, c]\n",
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


@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_array_is_read_across_pieces(tmp_path: Path, indent: int | None) -> None:
    # Objects of all sizes, the largest over two pieces of a megabyte; escapes and multi-byte text at the seams.
    written = [{"n": n, "text": 'é"\\ \n文' * (n * n % 977)} for n in range(700)] + [
        {"text": "x" * 2_500_000}
    ]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(written, indent=indent, ensure_ascii=False), encoding="utf-8")
    assert list(readers.read_file(path).rows) == written
    path.write_text(" [ ] ")
    assert list(readers.read_file(path).rows) == []


def test_json_lines_may_have_a_mark_and_empty_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('\ufeff{"a": 1}\n\n{"a": null, "b": [1]}', encoding="utf-8")
    assert list(readers.read_file(path).rows) == [{"a": 1}, {"a": None, "b": [1]}]
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(RecordError, match="not UTF-8 text"):
        list(readers.read_file(path).rows)


def test_csv_cells_may_hold_lines_quotes_and_long_texts(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('a,b\n"one\ntwo","say ""hi"""\n,' + "x" * 200_000 + "\n")
    assert list(readers.read_file(path).rows) == [
        {"a": "one\ntwo", "b": 'say "hi"'},
        {"a": None, "b": "x" * 200_000},
    ]


def test_missing_columns_are_named_with_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("id,quesion\n1,2\n")
    with pytest.raises(
        RecordError, match=r"'question' is missing \(found id, quesion\); is 'quesion' meant to be it\?"
    ):
        list(readers.read_file(path).numbered(["question"]))
    with pytest.raises(RecordError, match="no such file"):
        readers.read_file(tmp_path / "none.csv")


def test_a_repository_needs_data_files(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no such folder"):
        repositories.read_repository(tmp_path / "none")
    with pytest.raises(RecordError, match="data files cannot be had"):
        repositories.read_repository(tmp_path)


def test_fixtures_are_what_their_builder_writes(tmp_path: Path) -> None:
    import importlib.util

    import pyarrow.parquet as pq

    home = Path(__file__).parents[2] / "fixtures/hub"
    spec = importlib.util.spec_from_file_location("build_hub_fixtures", home / "build.py")
    assert spec
    assert spec.loader
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    build.build(tmp_path)
    made = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    kept = sorted(p.relative_to(home) for p in home.glob("*/**/*") if p.is_file() and p.suffix != ".pyc")
    assert made == kept
    for name in made:
        if name.suffix == ".parquet":
            assert pq.read_table(tmp_path / name).equals(pq.read_table(home / name)), name
        else:
            assert (tmp_path / name).read_text() == (home / name).read_text(), name
