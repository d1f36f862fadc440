"""The export of a study: a tidy table, its data dictionary, and sections for model cards."""

import re
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from polycal.report import data_dictionary, export
from polycal.report.data_dictionary import DictionaryError
from polycal.report.export import ExportError
from polycal.vocabulary import CELL_KEYS


@pytest.fixture(scope="module")
def exported(study_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "shared"
    written = export.export(study_folder, out)
    assert sorted(written) == sorted(path for path in out.rglob("*") if path.is_file())
    return out


def test_both_files_hold_every_value_of_the_measured_tables(exported: Path, study_folder: Path) -> None:
    texts = dict.fromkeys(CELL_KEYS, str)
    from_csv = pd.read_csv(exported / "cells.csv", dtype=texts, keep_default_na=False, na_values=[""])
    from_parquet = pd.read_parquet(exported / "cells.parquet")
    keys = list(CELL_KEYS)
    for table in (from_csv, from_parquet):
        assert not table.duplicated(keys).any()
        for name in ("cells", "diagnostics"):
            measured = pd.read_parquet(study_folder / f"{name}.parquet")
            found = measured[keys].merge(table, on=keys, how="left")[measured.columns]
            pd.testing.assert_frame_equal(found, measured, check_exact=True)


def test_every_column_has_a_meaning_and_a_unit(exported: Path) -> None:
    dictionary = pd.read_csv(exported / "dictionary.csv")
    schema = pq.read_schema(exported / "cells.parquet")
    assert list(dictionary.column) == schema.names == list(pd.read_csv(exported / "cells.csv").columns)
    assert dictionary.meaning.is_unique
    assert dictionary.notna().all(axis=None)
    for field, entry in zip(schema, dictionary.itertuples(), strict=True):
        assert field.metadata == {b"meaning": entry.meaning.encode(), b"unit": entry.unit.encode()}
    with pytest.raises(DictionaryError, match="column 'colour' has no meaning"):
        data_dictionary.entries(["colour"])


def test_values_are_in_the_range_of_their_unit(exported: Path) -> None:
    cells = pd.read_parquet(exported / "cells.parquet")
    units = {entry.column: entry.unit for entry in data_dictionary.entries(cells.columns)}
    for column, unit in units.items():
        values = cells[column].dropna()
        if unit == "share":
            assert values.between(0, 1).all(), column
        elif unit == "difference of shares":
            assert values.between(-1, 1).all(), column
        elif unit in ("count", "nats"):
            assert (values >= 0).all(), column


def test_a_section_for_each_checkpoint(exported: Path) -> None:
    cells = pd.read_parquet(exported / "cells.parquet")
    names = sorted(path.name for path in (exported / "model-cards").iterdir())
    assert names == ["llama.md", "llama__alpaca__paper__0.1__42.md", "llama__alpaca__paper__0__42.md"]
    text = (exported / "model-cards/llama__alpaca__paper__0.1__42.md").read_text(encoding="utf-8")
    assert "`llama`, tuned on alpaca, recipe paper, label smoothing β = 0.1, seed 42." in text
    assert "15 bins of equal width" in text
    rows = re.findall(
        r"^\| (\w+) \| (\d+) \| .* \| (\d\.\d{3}) \[(\d\.\d{3}), (\d\.\d{3})\] \| \d\.\d{3} \|$", text, re.M
    )
    tuned = cells[cells.beta == "0.1"].set_index("language")
    assert {language for language, *_ in rows} == set(tuned.index)
    for language, n, *ece in rows:
        row = tuned.loc[language]
        assert int(n) == row.n
        assert [f"{row[name]:.3f}" for name in ("ece", "ece_low", "ece_high")] == ece
    base = (exported / "model-cards/llama.md").read_text(encoding="utf-8")
    assert "`llama`, not tuned." in base


def test_a_folder_without_tables_is_refused(tmp_path: Path, study_folder: Path) -> None:
    with pytest.raises(ExportError, match=r"cells\.parquet is missing; must be in the folder"):
        export.export(tmp_path, tmp_path / "out")
    for name in ("cells", "diagnostics"):
        (tmp_path / f"{name}.parquet").write_bytes((study_folder / f"{name}.parquet").read_bytes())
    (tmp_path / "diagnostics.parquet").write_bytes(b"PAR1")
    with pytest.raises(ExportError, match=r"diagnostics\.parquet: truncated"):
        export.export(tmp_path, tmp_path / "out")
    pd.read_parquet(study_folder / "diagnostics.parquet").iloc[1:].to_parquet(
        tmp_path / "diagnostics.parquet"
    )
    with pytest.raises(ExportError, match=r"has other cells than cells\.parquet"):
        export.export(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
