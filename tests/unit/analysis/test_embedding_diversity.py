"""Diversity against closed forms and plain loops, and its correlation with calibration on invented cells."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from polycal.analysis import embedding_diversity, measure
from polycal.analysis.score_arrays import CELL
from polycal.artifacts import records

X = np.random.default_rng(0).normal(size=(200, 6)) * np.arange(1, 7)


def test_the_spectrum_is_that_of_the_covariance():
    expected = np.linalg.svd(np.cov(X.T), compute_uv=False)
    assert embedding_diversity.spectrum(X) == pytest.approx(expected, rel=1e-12)
    few = X[:4]
    found = embedding_diversity.spectrum(few)
    assert found[:3] == pytest.approx(np.linalg.svd(np.cov(few.T), compute_uv=False)[:3], rel=1e-9)
    assert (found[3:] == 0).all()


def test_shrinkage_is_ledoit_and_wolfs_by_a_plain_loop():
    centred = X - X.mean(0)
    n, width = X.shape
    s = centred.T @ centred / n
    target = np.trace(s) / width * np.eye(width)
    distance = ((s - target) ** 2).sum()
    error = sum(((np.outer(row, row) - s) ** 2).sum() for row in centred) / n**2
    assert embedding_diversity.shrinkage(X) == pytest.approx(error / distance, rel=1e-10)


def test_measures_of_equal_directions():
    x = np.vstack([np.eye(4), -np.eye(4)])
    found = embedding_diversity.describe(x)
    assert found["effective_rank"] == pytest.approx(4)
    assert found["condition"] == pytest.approx(1)
    assert found["trace"] == pytest.approx(8 / 7)
    assert found["anisotropy"] == pytest.approx(-1 / 7)
    assert embedding_diversity.anisotropy(np.ones((3, 2))) == pytest.approx(1)


def test_one_row_and_equal_rows_are_defined():
    for x in (np.ones((1, 3)), np.ones((5, 3))):
        found = embedding_diversity.describe(x)
        assert found["smallest_singular_value"] == found["trace"] == 0
        assert np.isnan(found["effective_rank"])


def test_correlation_is_pearsons_and_ranks_share_ties():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 1, 1, 12))
    assert embedding_diversity.correlation(x, y)[0] == pytest.approx(np.corrcoef(x.ravel(), y.ravel())[0, 1])
    assert embedding_diversity._ranks(np.array([3.0, 1.0, 3.0])).tolist() == [2.5, 1.0, 2.5]
    assert np.isnan(embedding_diversity.correlation(np.ones((1, 1, 4)), rng.normal(size=(1, 1, 4)))[0])


def write(folder, beta, language, x, ids=None):
    tuned = beta != "none"
    cell = {
        "model": "m",
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


def test_a_language_that_loses_diversity_and_gains_error_is_found(tmp_path):
    files, cells = [], []
    for number, language in enumerate(["de", "en", "hi", "yo"]):
        for beta, scale in (("none", 1.0), ("0", 1 / (2 + number))):
            path, cell = write(tmp_path, beta, language, X[:50] * scale)
            files.append(path)
            cells.append({**cell, "ece": 0.1 if beta == "none" else 0.1 + 0.1 * np.log(2 + number)})
    measure.write(pd.DataFrame(cells), tmp_path / "cells.parquet", {})
    settings = {"bootstrap_samples": 100, "seed": 0}
    embedding_diversity.measure(
        files, tmp_path / "cells.parquet", settings=settings, out=tmp_path / "out", note={}
    )
    found = pq.read_table(tmp_path / "out/diversity_links.parquet").to_pandas()
    row = found[(found.model == "m") & (found.measure == "log_smallest")].iloc[0]
    assert row.pearson == pytest.approx(-1)
    assert row.change == pytest.approx(-2 * np.log([2, 3, 4, 5]).mean(), rel=1e-5)
    assert {path.stem for path in (tmp_path / "out").iterdir()} == set(embedding_diversity.TABLES)
    assert list(found.columns) == list(embedding_diversity.LINK_COLUMNS)
    assert set(found[CELL[0]]) == {"m", "all"}


def test_other_questions_and_missing_cells_are_named(tmp_path):
    one, cell = write(tmp_path, "none", "en", X[:20])
    two, _ = write(tmp_path, "0", "en", X[:20], ids=range(1, 21))
    measure.write(pd.DataFrame([{**cell, "ece": 0.1}]), tmp_path / "cells.parquet", {})
    told = {"settings": {"bootstrap_samples": 10, "seed": 0}, "out": tmp_path / "out", "note": {}}
    with pytest.raises(embedding_diversity.DiversityError, match="embed different questions"):
        embedding_diversity.measure([one, two], tmp_path / "cells.parquet", **told)
    two, _ = write(tmp_path, "0", "en", X[:20])
    with pytest.raises(embedding_diversity.DiversityError, match="holds no ECE of m, b, p, en"):
        embedding_diversity.measure([one, two], tmp_path / "cells.parquet", **told)
    assert not (tmp_path / "out").exists()
