"""Diversity and its correlation with calibration, on invented embeddings and cells."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from helpers.stamps import FixedStamp

from polycal.analysis import ece_correlations, embedding_diversity
from polycal.artifacts import records, tables

X = np.random.default_rng(0).normal(size=(200, 6)) * np.arange(1, 7)


def write(folder, beta, language, x, ids=None):
    tuned = beta != "none"
    cell = {
        "model": "m",
        "base_seed": "0",
        "data": "d" if tuned else "none",
        "recipe": "r" if tuned else "none",
        "beta": beta,
        "seed": "1" if tuned else "none",
        "benchmark": "b",
        "protocol": "p",
        "language": language,
    }
    rows = [
        {"question_id": str(n if ids is None else ids[n]), "embedding": row.tolist()}
        for n, row in enumerate(x)
    ]
    path = folder / f"{beta}-{language}.parquet"
    records.write(path, rows, records.EMBEDDING, {"cell": cell})
    return path, cell


def measure(files, measured, out, samples):
    embedding_diversity.measure_embeddings(
        {"settings": {"bootstrap_samples": samples, "seed": 0}},
        embeddings=files,
        measured=measured,
        out=out,
        stamp=FixedStamp(),
    )


def test_a_language_that_loses_diversity_and_gains_error_is_found(tmp_path):
    files, cells = [], []
    for number, language in enumerate(["de", "en", "hi", "yo"]):
        for beta, scale in (("none", 1.0), ("0", 1 / (2 + number))):
            path, cell = write(tmp_path, beta, language, X[:50] * scale)
            files.append(path)
            cells.append({**cell, "ece": 0.1 if beta == "none" else 0.1 + 0.1 * np.log(2 + number)})
    measured = tmp_path / "cells.parquet"
    tables.write(pd.DataFrame(cells), measured, {})
    measure(files, measured, tmp_path / "out", samples=100)
    rows = pq.read_table(tmp_path / "out/ece_correlations.parquet").to_pandas()
    row = rows[(rows.model == "m") & (rows.measure == "log_smallest")].iloc[0]
    assert row.pearson == pytest.approx(-1)
    assert row.change == pytest.approx(-2 * np.log([2, 3, 4, 5]).mean(), rel=1e-5)
    assert {path.stem for path in (tmp_path / "out").iterdir()} == set(embedding_diversity.table_names({}))
    assert list(rows.columns) == list(ece_correlations.COLUMNS)
    assert set(rows.model) == {"m", "all"}
    assert set(rows.base_seed) == {"0", "all"}
    checksums = embedding_diversity.input_checksums({}, embeddings=files, measured=measured)
    assert set(checksums) == {*map(str, files), "cells"}
    assert checksums["cells"] == records.metadata(measured)["content"] != checksums[str(files[0])]


def test_other_columns_of_the_cells_are_no_input(tmp_path):
    _, cell = write(tmp_path, "none", "en", X[:20])
    found = []
    for more in ({}, {"accuracy": 0.5}, {"ece": 0.2}):
        path = tmp_path / f"cells{len(found)}.parquet"
        tables.write(pd.DataFrame([{**cell, "ece": 0.1, **more}]), path, {})
        found.append(embedding_diversity.ece_checksum(path))
    assert found[0] == found[1] != found[2]


def test_other_questions_and_missing_cells_are_named(tmp_path):
    first, cell = write(tmp_path, "none", "en", X[:20])
    second, _ = write(tmp_path, "0", "en", X[:20], ids=range(1, 21))
    tables.write(pd.DataFrame([{**cell, "ece": 0.1}]), tmp_path / "cells.parquet", {})
    with pytest.raises(embedding_diversity.DiversityError, match="embed different questions"):
        measure([first, second], tmp_path / "cells.parquet", tmp_path / "out", samples=10)
    second, _ = write(tmp_path, "0", "en", X[:20])
    with pytest.raises(embedding_diversity.DiversityError, match="holds no ECE of m, b, p, en"):
        measure([first, second], tmp_path / "cells.parquet", tmp_path / "out", samples=10)
    assert not (tmp_path / "out").exists()
