import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from helpers.measured import write_tables
from helpers.score_records import LANGUAGES, SETTINGS, cell, score_row, study, write, write_truth

from polycal.analysis import bootstrap, measure, score_arrays
from polycal.analysis.conditions import cell_key
from polycal.artifacts import files as file_store
from polycal.artifacts import records
from polycal.metrics import calibration, probability_scores, smooth_calibration
from polycal.vocabulary import CELL_KEYS

KEYS = list(CELL_KEYS)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    files = study(folder / "scores")
    write_tables(files, folder / "tables", {**SETTINGS, "truth": write_truth(folder / "truth")}, code="abc")
    return files, folder / "tables"


def table(measured, name):
    return pd.read_parquet(measured[1] / f"{name}.parquet")


def settings_of(measured):
    return json.loads(pq.read_schema(measured[1] / "cells.parquet").metadata[b"polycal"])["settings"]


def test_all_tables_are_there_with_their_metadata(measured):
    names = {path.name for path in measured[1].iterdir()}
    assert names == {f"{name}.parquet" for name in measure.table_names({"settings": settings_of(measured)})}
    metadata = json.loads(pq.read_schema(measured[1] / "means.parquet").metadata[b"polycal"])
    assert metadata["code"] == "abc"
    assert metadata["table"] == "means"
    assert metadata["settings"]["bootstrap_samples"] == 200


def test_the_truth_is_a_table_only_where_it_is_known():
    assert "truth" in measure.table_names({"settings": {"truth": {"b": "folder"}}})
    for settings in ({}, {"truth": {}}):
        assert measure.table_names({"settings": settings}) == measure.TABLES


def test_inputs_are_the_records_and_the_files_of_true_answers(measured):
    files, _ = measured
    settings = settings_of(measured)
    found = measure.input_checksums({"settings": settings}, scores=files)
    assert len(found) == len(files) + len(LANGUAGES)
    assert found[str(files[0])] == records.metadata(files[0])["content"]
    truth = f"{settings['truth']['mmlu-prox']}/yo.parquet"
    assert found[truth] == file_store.sha256(measured[1].parent / "truth/yo.parquet")
    assert len(measure.input_checksums({"settings": SETTINGS}, scores=files)) == len(files)
    other = {"settings": {"truth": {"another": "folder"}}}
    assert len(measure.input_checksums(other, scores=files)) == len(files)


def test_one_row_per_cell_with_values_of_calibration(measured):
    rows = table(measured, "cells").set_index(KEYS)
    assert len(rows) == len(measured[0])
    for path in measured[0][:5]:
        questions = score_arrays.read(path)
        p = np.exp(questions.log_probabilities("token"))
        confidence, correct = p.max(1), p.argmax(1) == questions.gold
        row = rows.loc[cell_key(questions.cell)]
        assert row["n"] == 150
        assert row["accuracy"] == probability_scores.accuracy(p, questions.gold)
        assert row["ece"] == pytest.approx(calibration.ece(confidence, correct), abs=1e-14)
        assert row["rms"] == pytest.approx(calibration.rms_calibration_error(confidence, correct), abs=1e-14)
        assert row["brier"] == pytest.approx(probability_scores.brier(p, questions.gold), abs=1e-14)
        assert row["nll"] == pytest.approx(probability_scores.nll(p, questions.gold), abs=1e-13)
        assert row["entropy"] == pytest.approx(probability_scores.entropy(p), abs=1e-14)
        assert row["smooth_ece"] == smooth_calibration.smooth_ece(confidence, correct)
        assert row["gap"] == pytest.approx(row["confidence"] - row["accuracy"], abs=1e-15)


def test_diagnostics_have_the_rows_of_the_cells(measured):
    cells, diagnostics = table(measured, "cells"), table(measured, "diagnostics")
    assert diagnostics[KEYS].equals(cells[KEYS])
    assert set(diagnostics) & set(cells) == set(KEYS)
    parts = diagnostics["brier_reliability"] - diagnostics["brier_resolution"]
    assert (parts + diagnostics["brier_uncertainty"] > 0).all()


@pytest.mark.parametrize("name", ["cells", "means"])
def test_every_metric_lies_in_its_interval(measured, name):
    rows = table(measured, name)
    for metric in (*bootstrap.METRICS, "smooth_ece"):
        assert (rows[f"{metric}_low"] <= rows[metric]).all(), metric
        assert (rows[metric] <= rows[f"{metric}_high"]).all(), metric


def test_means_are_unweighted_and_by_level(measured):
    means, cells = table(measured, "means"), table(measured, "cells")
    assert set(means["group"]) == {"all", "high", "mid", "low"}
    for row in means.itertuples():
        chosen = cells[
            (cells["beta"] == row.beta) & ((cells["resource"] == row.group) | (row.group == "all"))
        ]
        assert row.languages == len(chosen)
        assert row.ece == pytest.approx(chosen["ece"].mean(), abs=1e-14)
        assert row.smooth_ece == pytest.approx(chosen["smooth_ece"].mean(), abs=1e-14)


def test_reliability_adds_up_to_the_ece(measured):
    bins, cells = table(measured, "reliability"), table(measured, "cells").set_index(KEYS)
    for names, rows in bins.groupby(KEYS):
        assert rows["n"].sum() == cells.loc[names, "n"]
        gap = (rows["n"] * (rows["accuracy"] - rows["confidence"]).abs()).sum() / rows["n"].sum()
        assert gap == pytest.approx(cells.loc[names, "ece"], abs=1e-14)
        assert (rows["confidence"] > rows["low"] - 1e-12).all()
        assert (rows["confidence"] <= rows["high"] + 1e-12).all()
        assert (rows["accuracy_low"] <= rows["accuracy"]).all()
        assert (rows["accuracy"] <= rows["accuracy_high"]).all()


@pytest.mark.parametrize("threaded_from", [1, 2000])
def test_the_same_files_give_the_same_bytes(measured, tmp_path, monkeypatch, threaded_from):
    monkeypatch.setattr(measure, "THREADED_FROM", threaded_from)
    settings = settings_of(measured)
    write_tables(list(reversed(measured[0])), tmp_path, settings, code="abc")
    for name in measure.table_names({"settings": settings}):
        assert (tmp_path / f"{name}.parquet").read_bytes() == (
            measured[1] / f"{name}.parquet"
        ).read_bytes(), name


def test_a_single_record_gives_every_table(tmp_path):
    file = write(tmp_path / "one.parquet", cell(), [score_row("a", [-1.0, -2.0], 0)])
    write_tables([file], tmp_path / "tables")
    row = pd.read_parquet(tmp_path / "tables" / "cells.parquet").iloc[0]
    assert row["n"] == 1
    assert row["ece_low"] == pytest.approx(row["ece"]) == row["ece_high"]
    assert np.isnan(pd.read_parquet(tmp_path / "tables" / "diagnostics.parquet").iloc[0]["auroc"])
    for name in ("contrasts", "sensitivity", "claims", "recalibration"):
        rows = pd.read_parquet(tmp_path / "tables" / f"{name}.parquet")
        assert len(rows) == 0
        assert list(rows.columns) == list(measure.COLUMNS[name])


@pytest.mark.parametrize("gold", [0, 1])
def test_all_correct_and_all_wrong_and_certain(tmp_path, gold):
    rows = [score_row(f"q{number}", [0.0, -3000.0], gold) for number in range(30)]
    file = write(tmp_path / "one.parquet", cell(), rows)
    write_tables([file], tmp_path / "tables")
    row = pd.read_parquet(tmp_path / "tables" / "cells.parquet").iloc[0]
    assert row["accuracy"] == 1 - gold
    assert row["ece"] == row["ece_low"] == row["ece_high"] == gold
    assert row["smooth_ece"] == pytest.approx(gold, abs=1e-9)
    assert row["nll"] == 3000.0 * gold
    assert row["ece_floor"] == 0.0
    assert pd.read_parquet(tmp_path / "tables" / "diagnostics.parquet").iloc[0]["platt_ece"] == 0.0


def test_a_language_may_have_fewer_questions(tmp_path):
    files = study(tmp_path, n=40, languages=("en", "de"))
    questions = score_arrays.read(files[1])
    rows = records.read_scores(files[1]).to_pylist()[3:]
    write(files[1], cell("none", questions.cell["language"]), rows)
    write_tables(files[:2], tmp_path / "tables")
    cells = pd.read_parquet(tmp_path / "tables" / "cells.parquet")
    assert sorted(cells["n"]) == [37, 40]


def test_nothing_is_written_for_bad_input(tmp_path):
    with pytest.raises(score_arrays.MeasureError, match="hold the same cell"):
        write_tables([*study(tmp_path, 5), study(tmp_path / "again", 5)[0]], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_truncated_file_is_named(tmp_path):
    files = study(tmp_path, 5)
    files[2].write_bytes(files[2].read_bytes()[:100])
    with pytest.raises(records.RecordError, match=files[2].name):
        write_tables(files, tmp_path / "out")
    with pytest.raises(records.RecordError, match=files[2].name):
        measure.input_checksums({"settings": SETTINGS}, scores=files)
