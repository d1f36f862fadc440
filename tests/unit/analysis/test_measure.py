import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from helpers.score_records import LANGUAGES, SETTINGS, cell, score_row, study, write, write_truth

from polycal.analysis import bootstrap, cell_metrics, measure, score_arrays
from polycal.artifacts import records
from polycal.metrics import calibration, probability_scores, smooth_calibration

CELL = list(score_arrays.CELL)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    files = study(folder / "scores")
    settings = {**SETTINGS, "truth": write_truth(folder / "truth")}
    measure.measure(files, settings=settings, out=folder / "tables", note={"code": "abc"})
    return files, folder / "tables"


def table(measured, name):
    return pd.read_parquet(measured[1] / f"{name}.parquet")


def test_all_tables_are_there_with_their_note(measured):
    names = {path.name for path in measured[1].iterdir()}
    assert names == {f"{name}.parquet" for name in (*measure.TABLES, measure.TRUTH)}
    note = json.loads(pq.read_schema(measured[1] / "means.parquet").metadata[b"polycal"])
    assert note["code"] == "abc"
    assert note["table"] == "means"
    assert note["settings"]["bootstrap_samples"] == 200


def test_one_row_a_cell_with_values_of_calibration(measured):
    found = table(measured, "cells").set_index(CELL)
    assert len(found) == len(measured[0])
    for path in measured[0][:5]:
        source = score_arrays.read(path)
        p = np.exp(source.log_probabilities("token"))
        confidence, correct = p.max(1), p.argmax(1) == source.gold
        row = found.loc[cell_metrics.key(source.cell)]
        assert row["n"] == 150
        assert row["accuracy"] == probability_scores.accuracy(p, source.gold)
        assert row["ece"] == pytest.approx(calibration.ece(confidence, correct), abs=1e-14)
        assert row["rms"] == pytest.approx(calibration.rms_calibration_error(confidence, correct), abs=1e-14)
        assert row["brier"] == pytest.approx(probability_scores.brier(p, source.gold), abs=1e-14)
        assert row["nll"] == pytest.approx(probability_scores.nll(p, source.gold), abs=1e-13)
        assert row["entropy"] == pytest.approx(probability_scores.entropy(p), abs=1e-14)
        assert row["smooth_ece"] == smooth_calibration.smooth_ece(confidence, correct)
        assert row["gap"] == pytest.approx(row["confidence"] - row["accuracy"], abs=1e-15)


@pytest.mark.parametrize("name", ["cells", "means"])
def test_every_metric_lies_in_its_interval(measured, name):
    found = table(measured, name)
    for metric in (*bootstrap.METRICS, "smooth_ece"):
        assert (found[f"{metric}_low"] <= found[metric]).all(), metric
        assert (found[metric] <= found[f"{metric}_high"]).all(), metric


def test_means_are_unweighted_and_by_level(measured):
    means, found = table(measured, "means"), table(measured, "cells")
    assert set(means["group"]) == {"all", "high", "mid", "low"}
    for row in means.itertuples():
        chosen = found[
            (found["beta"] == row.beta) & ((found["resource"] == row.group) | (row.group == "all"))
        ]
        assert row.languages == len(chosen)
        assert row.ece == pytest.approx(chosen["ece"].mean(), abs=1e-14)
        assert row.smooth_ece == pytest.approx(chosen["smooth_ece"].mean(), abs=1e-14)


def test_reliability_adds_up_to_the_ece(measured):
    bins, found = table(measured, "reliability"), table(measured, "cells").set_index(CELL)
    for names, rows in bins.groupby(CELL):
        assert rows["n"].sum() == found.loc[names, "n"]
        gap = (rows["n"] * (rows["accuracy"] - rows["confidence"]).abs()).sum() / rows["n"].sum()
        assert gap == pytest.approx(found.loc[names, "ece"], abs=1e-14)
        assert (rows["confidence"] > rows["low"] - 1e-12).all()
        assert (rows["confidence"] <= rows["high"] + 1e-12).all()
        assert (rows["accuracy_low"] <= rows["accuracy"]).all()
        assert (rows["accuracy"] <= rows["accuracy_high"]).all()


def test_the_same_files_give_the_same_bytes(measured, tmp_path):
    files = list(reversed(measured[0]))
    settings = json.loads(pq.read_schema(measured[1] / "cells.parquet").metadata[b"polycal"])["settings"]
    measure.measure(files, settings=settings, out=tmp_path, note={"code": "abc"})
    for name in (*measure.TABLES, measure.TRUTH):
        assert (tmp_path / f"{name}.parquet").read_bytes() == (
            measured[1] / f"{name}.parquet"
        ).read_bytes(), name


def test_a_single_record_gives_every_table(tmp_path):
    file = write(tmp_path / "one.parquet", cell(), [score_row("a", [-1.0, -2.0], 0)])
    measure.measure([file], settings=SETTINGS, out=tmp_path / "tables", note={})
    row = pd.read_parquet(tmp_path / "tables" / "cells.parquet").iloc[0]
    assert row["n"] == 1
    assert row["ece_low"] == pytest.approx(row["ece"]) == row["ece_high"]
    assert np.isnan(row["auroc"])
    for name in ("contrasts", "sensitivity", "claims", "cures"):
        found = pd.read_parquet(tmp_path / "tables" / f"{name}.parquet")
        assert len(found) == 0
        assert list(found.columns) == list(measure.COLUMNS[name])


@pytest.mark.parametrize("gold", [0, 1])
def test_all_correct_and_all_wrong_and_certain(tmp_path, gold):
    rows = [score_row(f"q{place}", [0.0, -3000.0], gold) for place in range(30)]
    file = write(tmp_path / "one.parquet", cell(), rows)
    measure.measure([file], settings=SETTINGS, out=tmp_path / "tables", note={})
    row = pd.read_parquet(tmp_path / "tables" / "cells.parquet").iloc[0]
    assert row["accuracy"] == 1 - gold
    assert row["ece"] == row["ece_low"] == row["ece_high"] == gold
    assert row["smooth_ece"] == pytest.approx(gold, abs=1e-9)
    assert row["nll"] == 3000.0 * gold
    assert row["platt_ece"] == 0.0
    assert row["ece_floor"] == 0.0


def test_languages_may_lack_questions(tmp_path):
    files = study(tmp_path, n=40, languages=("en", "de"))
    source = score_arrays.read(files[1])
    rows = records.read_scores(files[1]).to_pylist()[3:]
    write(files[1], cell("none", source.cell["language"]), rows)
    measure.measure(files[:2], settings=SETTINGS, out=tmp_path / "tables", note={})
    found = pd.read_parquet(tmp_path / "tables" / "cells.parquet")
    assert sorted(found["n"]) == [37, 40]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: [], "no Score file"),
        (lambda folder: [*study(folder, 5), study(folder / "again", 5)[0]], "hold the same cell"),
        (
            lambda folder: [
                write(folder / "x.parquet", cell(language="xx"), [score_row("a", [0.0, -1.0], 0)])
            ],
            "resource level of language 'xx'",
        ),
        (
            lambda folder: [
                write(
                    folder / "x.parquet",
                    cell(settings={"candidates": "songs"}),
                    [score_row("a", [0.0, -1.0], 0)],
                )
            ],
            "no normalisation is set for candidates 'songs'",
        ),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(tmp_path, change, words):
    with pytest.raises(score_arrays.MeasureError, match=words):
        measure.measure(change(tmp_path / "in"), settings=SETTINGS, out=tmp_path / "out", note={})
    assert not (tmp_path / "out").exists()


def test_a_truncated_file_is_named(tmp_path):
    files = study(tmp_path, 5)
    files[2].write_bytes(files[2].read_bytes()[:100])
    with pytest.raises(records.RecordError, match=files[2].name):
        measure.measure(files, settings=SETTINGS, out=tmp_path / "out", note={})


def test_summary_takes_any_files(measured, tmp_path):
    lone = tmp_path / "lone.parquet"
    records.write(lone, [score_row("a", [-1.0, -2.0], 0)], records.SCORE, {"cell": {"model": "mine"}})
    found = measure.summary([measured[0][0], lone])
    assert found["n"].tolist() == [150, 1]
    assert found["model"].tolist() == ["llama", "mine"]
    expected = (
        table(measured, "cells").set_index(CELL).loc[cell_metrics.key(score_arrays.cell_of(measured[0][0]))]
    )
    for metric in bootstrap.METRICS:
        assert found[metric][0] == pytest.approx(expected[metric], abs=1e-14)


def test_truth_scores_best_and_its_ece_is_chance(measured):
    found = table(measured, "truth")
    own = found[found["model"] == "truth"]
    assert len(own) == len(LANGUAGES)
    assert (own["divergence"] == 0).all()
    assert own["ece_true"].to_numpy() == pytest.approx(np.zeros(len(own)), abs=1e-12)
    assert own["accuracy_true"].to_numpy() == pytest.approx(own["confidence"].to_numpy(), abs=1e-12)
    models = found[found["model"] != "truth"]
    assert (models["divergence"] > 0).all()
    assert models["accuracy_true"].max() < own["accuracy_true"].min()
    assert (models["ece_error"] - (models["ece"] - models["ece_true"])).abs().max() < 1e-15
    tuned = models[models["beta"] == "0"]
    assert (tuned["ece_true"] > 0.1).all()


def test_truth_must_have_every_question(tmp_path):
    files = study(tmp_path / "scores", n=30)
    settings = {**SETTINGS, "truth": write_truth(tmp_path / "truth", n=20)}
    with pytest.raises(score_arrays.MeasureError, match="question_id 'q20'"):
        measure.measure(files, settings=settings, out=tmp_path / "out", note={})
