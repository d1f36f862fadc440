import numpy as np
import pandas as pd
import pytest
from helpers.measured import write_tables
from helpers.score_records import LANGUAGES, SETTINGS, study, write_truth

from polycal.analysis.score_arrays import MeasureError


def test_truth_scores_best_and_its_ece_is_chance(tmp_path):
    settings = {**SETTINGS, "truth": write_truth(tmp_path / "truth")}
    write_tables(study(tmp_path / "scores"), tmp_path / "tables", settings)
    rows = pd.read_parquet(tmp_path / "tables/truth.parquet")
    true = rows[rows["model"] == "truth"]
    assert len(true) == len(LANGUAGES)
    assert (true["divergence"] == 0).all()
    assert true["ece_true"].to_numpy() == pytest.approx(np.zeros(len(true)), abs=1e-12)
    assert true["accuracy_true"].to_numpy() == pytest.approx(true["confidence"].to_numpy(), abs=1e-12)
    models = rows[rows["model"] != "truth"]
    assert (models["divergence"] > 0).all()
    assert models["accuracy_true"].max() < true["accuracy_true"].min()
    assert (models["ece_error"] - (models["ece"] - models["ece_true"])).abs().max() < 1e-15
    tuned = models[models["beta"] == "0"]
    assert (tuned["ece_true"] > 0.1).all()


def test_truth_must_have_every_question(tmp_path):
    files = study(tmp_path / "scores", n=30)
    settings = {**SETTINGS, "truth": write_truth(tmp_path / "truth", n=20)}
    with pytest.raises(MeasureError, match="question_id 'q20'"):
        write_tables(files, tmp_path / "out", settings)


def test_a_missing_file_of_true_answers_is_named(tmp_path):
    settings = {**SETTINGS, "truth": {"mmlu-prox": str(tmp_path / "nowhere")}}
    with pytest.raises(MeasureError, match=r"nowhere/.*: no such file"):
        write_tables(study(tmp_path / "scores", n=30), tmp_path / "out", settings)
