"""Printed tables fit in a terminal, show what differs, and lose nothing in the formats for other programs."""

import io
import json

import pandas as pd
import pytest

from polycal.cli import printed_tables
from polycal.cli.printed_tables import Format, TableError, printed

METRICS = ("accuracy", "confidence", "gap", "ece", "rms", "brier", "nll")
TABLE = pd.DataFrame(
    [
        {
            "file": f"a/long/folder/of/records/{language}.parquet", "model": "m", "data": "none", "benchmark": "b",
            "language": language, "n": 300,
            **{metric + end: 0.1 * number + shift + 1 / 3 for number, metric in enumerate(METRICS)
               for end, shift in (("", gap), ("_low", gap - 0.05), ("_high", gap + 0.05))},
        }
        for language, gap in (("de", 0.1), ("en", 0.3), ("yo", 0.2))
    ]
)  # fmt: skip


def test_the_readable_table_has_what_differs_and_fits():
    first, header, *rows, note = printed(TABLE).splitlines()
    assert first == "model: m, benchmark: b"
    assert header.split()[:2] == ["language", "accuracy"]
    assert [row.split()[0] for row in rows] == ["de", "en", "yo"]
    assert "0.433 [0.383, 0.483]" in rows[0]
    assert max(map(len, (first, header, *rows))) <= printed_tables.WIDTH
    assert note.startswith("Not shown: ")
    assert "nll" in note


def test_files_name_rows_that_nothing_else_distinguishes():
    same = TABLE.assign(language="de")
    assert all(file in printed(same) for file in same.file)
    assert "long/folder" not in printed(TABLE)


def test_rows_are_sorted_as_asked():
    assert [row["language"] for row in json.loads(printed(TABLE, Format.JSON, "gap"))] == ["en", "yo", "de"]
    assert [row["language"] for row in json.loads(printed(TABLE, Format.JSON, "language"))] == [
        "de",
        "en",
        "yo",
    ]
    with pytest.raises(TableError, match=r"--sort: there is no column 'gaps'; must be one of file, model, "):
        printed(TABLE, Format.TEXT, "gaps")


def test_other_formats_have_every_column_and_digit():
    read = pd.read_csv(io.StringIO(printed(TABLE, Format.CSV)), keep_default_na=False)
    pd.testing.assert_frame_equal(read, TABLE, check_exact=True)
    assert pd.DataFrame(json.loads(printed(TABLE, Format.JSON))).nll.tolist() == pytest.approx(
        TABLE.nll, abs=1e-14
    )
    lines = printed(TABLE, Format.MD).splitlines()
    assert len(lines) == 2 + len(TABLE)
    assert lines[0].count("|") == len(TABLE.columns) + 1


def test_differences_have_their_interval():
    table = pd.DataFrame(
        {"run": ["a", "b"], "difference": [0.1, 0.2], "low": [0.0, 0.1], "high": [0.2, 0.3], "q": [0.5, 0.01]}
    )
    assert "0.100 [0.000, 0.200]" in printed(table)
    assert "low" not in printed(table).split()
