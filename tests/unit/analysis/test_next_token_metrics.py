"""Calibration of next-token predictions by language and over all, with intervals over conversations."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.stamps import FixedStamp

from polycal.analysis import bootstrap, holes, next_token_metrics
from polycal.analysis.score_arrays import MeasureError
from polycal.artifacts import failures, records
from polycal.artifacts.failures import Failure
from polycal.metrics import calibration
from polycal.study import paths

CELL = {
    "model": "m",
    "base_seed": "0",
    "data": "none",
    "recipe": "none",
    "beta": "none",
    "seed": "none",
    "heldout": "h",
}
SETTINGS = {"bins": 15, "binning": "width", "bootstrap_samples": 100, "seed": 0}


def record(path, beta, shift=0.0, count=40):
    rng = np.random.default_rng(0)
    conversation = np.repeat(np.arange(count), 5)
    top = np.clip(rng.uniform(0.2, 0.9, len(conversation)) + shift, 0, 1)
    correct = rng.random(len(top)) < top - shift
    table = pa.table(
        [
            conversation, np.where(conversation % 2, "en", "de"), np.tile(np.arange(5), count),
            np.where(correct, np.log(top), -3), np.log(top), correct, np.ones(len(top)), top**2,
        ],
        names=records.TOKEN_SCORE.names,
    )  # fmt: skip
    tuned = {"data": "d", "recipe": "r", "beta": beta, "seed": "1"} if beta != "none" else {}
    records.write(path, table, records.TOKEN_SCORE, {"cell": {**CELL, **tuned}, "vocabulary": 100})
    return path


def measure(files, out, missing=()):
    next_token_metrics.measure_next_token(
        {"settings": SETTINGS}, tokens=list(files), missing=missing, out=out, stamp=FixedStamp()
    )


def test_cells_by_language_and_over_all_and_their_contrasts(tmp_path):
    files = [record(tmp_path / "a.parquet", "none"), record(tmp_path / "b.parquet", "0", 0.1)]
    measure(files, tmp_path / "out")
    assert {path.stem for path in (tmp_path / "out").iterdir()} == set(next_token_metrics.table_names({}))
    cells = pq.read_table(tmp_path / "out/next_token.parquet").to_pandas()
    assert cells.groupby("beta").language.apply(list).tolist() == [["all", "de", "en"]] * 2
    tokens = records.read_tokens(files[0])
    expected = calibration.ece(
        np.exp(tokens["top_logprob"].to_numpy().astype(float)),
        tokens["correct"].to_numpy(zero_copy_only=False),
    )
    row = cells[(cells.language == "all") & (cells.beta == "none")].iloc[0]
    assert row.base_seed == "0"
    assert row.ece == pytest.approx(expected, abs=1e-12)
    assert row.ece_low <= row.ece <= row.ece_high
    contrasts = pq.read_table(tmp_path / "out/next_token_contrasts.parquet").to_pandas()
    gap = contrasts[(contrasts.metric == "gap") & (contrasts.language == "all")].iloc[0]
    assert gap.low > 0
    assert set(contrasts.language) == {"all", "de", "en", "mean"}
    checksums = next_token_metrics.input_checksums({}, tokens=files)
    assert checksums == {str(path): records.metadata(path)["content"] for path in files}


def test_samples_are_the_metrics_of_the_repeated_conversations(tmp_path):
    table = records.read_tokens(record(tmp_path / "a.parquet", "none"))
    outcomes, cluster = next_token_metrics.token_outcomes(table, 100), table["conversation"].to_numpy()
    weights = np.random.default_rng(1).integers(0, 3, (2, 40)).astype(float)
    samples = bootstrap.samples(outcomes, weights, bins=15, binning="width", cluster=cluster)
    for row, counts in zip(samples, weights, strict=True):
        rows = np.repeat(np.arange(len(cluster)), counts[cluster].astype(int))
        again = next_token_metrics.token_outcomes(table.take(rows), 100)
        assert row == pytest.approx(bootstrap.estimates(again, bins=15, binning="width"), abs=1e-12)


def tables(folder):
    return {path.stem: pq.read_table(path).to_pandas() for path in folder.iterdir()}


@pytest.mark.parametrize("how", ["none", "failed", "missing", "refused", "other conversations"])
def test_a_hole_has_no_rows_and_empties_the_contrasts_that_need_it(tmp_path, how):
    betas = {"none": 0.0, "0": 0.1, "0.1": 0.05}
    files = {beta: record(tmp_path / f"{beta}.parquet", beta, shift) for beta, shift in betas.items()}
    measure(files.values(), tmp_path / "whole")
    whole, missing = tables(tmp_path / "whole"), []
    cell = records.metadata(files["0.1"])["cell"]
    if how == "failed":
        failures.write(files["0.1"], {"cell": cell}, Failure("finetune", "diverged."))
    if how == "missing":
        missing = [Path(paths.NEXT_TOKEN.format(**cell))]
        files.pop("0.1")
    if how == "refused":
        table = records.read_tokens(files["0.1"])
        bad = table.set_column(6, "entropy", pa.array([np.nan] * len(table), pa.float32()))
        records.write(files["0.1"], bad, records.TOKEN_SCORE, {"cell": cell, "vocabulary": 100})
    if how == "other conversations":
        record(files["0.1"], "0.1", count=30)
    measure(files.values(), tmp_path / "out", missing)
    found = tables(tmp_path / "out")
    assert list(found["next_token_holes"]) == list(holes.COLUMNS)
    if how == "none":
        assert len(found["next_token_holes"]) == 0
        return
    [hole] = found["next_token_holes"].to_dict("records")
    assert (hole["beta"], hole["benchmark"], hole["language"]) == ("0.1", "h", "all")
    words = {
        "failed": ("finetune", "diverged."),
        "missing": ("score_next_token", "record is missing"),
        "refused": ("measure", "a value of entropy is missing or not finite"),
        "other conversations": ("measure", "its conversations are not those of"),
    }[how]
    assert hole["stage"] == words[0]
    assert words[1] in hole["reason"]
    for name in ("next_token", "next_token_reliability"):
        pd.testing.assert_frame_equal(
            found[name], whole[name][whole[name].beta != "0.1"].reset_index(drop=True), check_exact=True
        )
    contrasts = found["next_token_contrasts"]
    lost = contrasts[contrasts.beta == "0.1"]
    assert set(lost.language) == {"mean"}
    assert set(lost.contrast) == {"tuned_minus_base", "smoothed_minus_unsmoothed"}
    assert (lost.holes == 2).all()
    assert lost.difference.isna().all()
    assert contrasts[contrasts.beta == "0"].difference.notna().all()


def test_without_any_usable_record_there_is_one_sentence(tmp_path):
    path = record(tmp_path / "a.parquet", "none")
    failures.write(path, {"cell": CELL}, Failure("score_next_token", "why."))
    with pytest.raises(MeasureError, match=r"none of the 1 records can be measured; .*why"):
        measure([path], tmp_path / "out")
    assert not (tmp_path / "out").exists()
