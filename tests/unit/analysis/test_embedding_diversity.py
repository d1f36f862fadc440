"""Diversity and its correlation with the ECE, on invented embeddings and cells."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from helpers.stamps import FixedStamp

from polycal.analysis import ece_correlations, embedding_diversity, holes
from polycal.artifacts import failures, records, tables
from polycal.artifacts.failures import Failure
from polycal.study import paths

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


def measure(files, measured, out, samples, missing=()):
    embedding_diversity.measure_embeddings(
        {"settings": {"bootstrap_samples": samples, "seed": 0}},
        embeddings=list(files),
        missing=missing,
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


def study(folder, languages=("de", "en", "hi", "yo"), betas=("none", "0", "0.1")):
    """Embeddings of every cell by name, and the table with their ECE."""
    files, cells = {}, []
    for number, language in enumerate(languages):
        for beta in betas:
            scale = 1 if beta == "none" else 1 / (2 + number + float(beta))
            files[f"{beta}-{language}"], cell = write(folder, beta, language, X[: 40 + number] * scale)
            cells.append({**cell, "ece": 0.1 * (1 + number * float(beta if beta != "none" else 0.5))})
    return files, pd.DataFrame(cells)


def measured(folder, files, cells, missing=()):
    folder.mkdir(exist_ok=True)
    tables.write(cells, folder / "cells.parquet", {})
    measure(files.values(), folder / "cells.parquet", folder / "out", samples=50, missing=missing)
    return {path.stem: pq.read_table(path).to_pandas() for path in (folder / "out").iterdir()}


def correlations(tables, contrast, model):
    table = tables["ece_correlations"]
    return table[(table.contrast == contrast) & (table.model == model)].reset_index(drop=True)


def test_without_a_hole_their_table_is_empty(tmp_path):
    found = measured(tmp_path / "whole", *study(tmp_path))
    assert list(found["embedding_holes"]) == list(holes.COLUMNS)
    assert len(found["embedding_holes"]) == 0
    assert (found["ece_correlations"].holes == 0).all()


@pytest.mark.parametrize("how", ["failed", "missing", "refused", "other questions", "no ECE"])
def test_a_hole_empties_the_correlations_that_need_it_and_nothing_else(tmp_path, how):
    files, cells = study(tmp_path)
    whole = measured(tmp_path / "whole", files, cells)
    name, missing = "0.1-yo", []
    if how == "failed":
        failures.write(files[name], {"cell": records.metadata(files[name])["cell"]}, Failure("score", "why."))
    if how == "missing":
        cell = records.metadata(files.pop(name))["cell"]
        missing = [Path(paths.EMBEDDINGS.format(**cell, pooling="last"))]
    if how == "refused":
        write(tmp_path, "0.1", "yo", np.full((43, 6), np.nan))
    if how == "other questions":
        write(tmp_path, "0.1", "yo", X[:43], ids=range(1, 44))
    if how == "no ECE":
        cells = cells[~((cells.beta == "0.1") & (cells.language == "yo"))]
    found = measured(tmp_path / "holes", files, cells, missing)
    [hole] = found["embedding_holes"].to_dict("records")
    assert (hole["beta"], hole["language"]) == ("0.1", "yo")
    words = {
        "failed": ("score", "why."),
        "missing": ("embed", "record is missing"),
        "refused": ("measure", "missing or not finite"),
        "other questions": ("measure", "which 2 of 3 records of m, b, p, yo have"),
        "no ECE": ("score", "no ECE"),
    }[how]
    assert hole["stage"] == words[0]
    assert words[1] in hole["reason"]
    # a cell without an ECE still has its diversity
    kept = (
        slice(None)
        if how == "no ECE"
        else ~((whole["diversity"].beta == "0.1") & (whole["diversity"].language == "yo"))
    )
    pd.testing.assert_frame_equal(
        found["diversity"], whole["diversity"][kept].reset_index(drop=True), check_exact=True
    )
    for contrast in ("tuned_minus_base", "smoothed_minus_unsmoothed"):
        rows = correlations(found, contrast, "m")
        lost = rows[rows.beta == "0.1"]
        assert (lost[["languages", "holes"]] == [3, 1]).all(axis=None)
        assert lost[["change", "pearson", "spearman_low"]].isna().all(axis=None)
        before = correlations(whole, contrast, "m")
        pd.testing.assert_frame_equal(
            rows[rows.beta == "0"], before[before.beta == "0"], check_exact=True, check_dtype=False
        )
        # the row of all conditions needs the missing cell too
        assert (correlations(found, contrast, "all").holes == 1).all()
        assert correlations(found, contrast, "all").pearson.isna().all()


def test_a_condition_without_any_embedding_is_there_and_empty(tmp_path):
    files, cells = study(tmp_path)
    missing = []
    for language in ("de", "en", "hi", "yo"):
        cell = records.metadata(files.pop(f"0.1-{language}"))["cell"]
        missing.append(Path(paths.EMBEDDINGS.format(**cell, pooling="last")))
    found = measured(tmp_path / "holes", files, cells, missing)
    rows = correlations(found, "smoothed_minus_unsmoothed", "m")
    assert (rows[["languages", "holes"]] == [0, 4]).all(axis=None)
    assert len(found["embedding_holes"]) == 4


def test_what_the_study_does_not_score_is_an_error(tmp_path):
    files, cells = study(tmp_path)
    with pytest.raises(embedding_diversity.DiversityError, match="holds no ECE of b, p; embed only what"):
        measured(tmp_path / "out", files, cells.assign(protocol="another"))
    assert not (tmp_path / "out/out").exists()
