from dataclasses import replace

import numpy as np
import pytest
from helpers.measured import measured_cell, measured_cells
from helpers.score_records import SETTINGS, cell, score_row, study, write

from polycal.analysis import cell_metrics, intervals, pooling, score_arrays
from polycal.analysis.score_set import ScoreSet
from polycal.analysis.summary import summary
from polycal.artifacts import order_spread, records
from polycal.metrics import calibration, probability_scores


def test_metrics_under_each_convention_are_those_of_calibration(tmp_path):
    questions = score_arrays.read(study(tmp_path, 60)[0])
    values = cell_metrics.metrics_under_conventions(questions, SETTINGS["sensitivity"])
    assert len(values) == 3 * (2 + 4)
    p = np.exp(questions.log_probabilities("byte"))
    expected = calibration.ece(p.max(1), p.argmax(1) == questions.gold, bins=10, binning="mass")
    assert values["byte", "ece", "mass", 10] == expected
    assert values["byte", "accuracy", "none", 0] == probability_scores.accuracy(p, questions.gold)


def test_equal_mass_can_be_the_studys_convention(tmp_path):
    score_set = ScoreSet(study(tmp_path, 60), {**SETTINGS, "binning": "mass"})
    cell = measured_cell(score_set, score_set.files[0])
    assert cell.row["ece"] == pytest.approx(cell.diagnostics["ece_mass"], abs=1e-15)
    assert {row["n"] for row in cell.reliability} == {4}
    assert cell.row["ece_low"] <= cell.row["ece"] <= cell.row["ece_high"]


def letters_study(folder, seeds=("1",), languages=("en", "de")):
    """Records of letters whose probabilities sum to 0.2 … 0.9, with one file for each seed and language."""
    rng, files = np.random.default_rng(1), []
    for seed in seeds:
        for language in languages:
            masses, names = rng.uniform(0.2, 0.9, 40), cell("0", language, seed=seed)
            rows = [score_row(f"q{n}", np.log(mass * rng.dirichlet(np.ones(4))).tolist(), n % 4)
                    for n, mass in enumerate(masses)]  # fmt: skip
            names["settings"] = {"candidates": "letters"}
            files.append(write(folder / f"{seed}_{language}.parquet", names, rows))
    return files


def test_the_mass_has_the_interval_of_a_mean_over_questions(tmp_path):
    score_set = ScoreSet(letters_study(tmp_path), SETTINGS)
    found = measured_cell(score_set, score_set.files[0])
    mass = score_arrays.read(score_set.files[0]).candidate_mass()
    assert found.row["candidate_mass"] == mass.mean()
    weights = score_set.resamples["mmlu-prox"].weights
    samples = np.array([np.repeat(mass, row.astype(int)).mean() for row in weights])
    low, high = intervals.interval(np.array([mass.mean()]), samples[:, None])
    ends = found.row["candidate_mass_low"], found.row["candidate_mass_high"]
    assert ends == pytest.approx((low[0], high[0]), abs=1e-12)


def test_a_cell_of_texts_has_no_mass(tmp_path):
    score_set = ScoreSet(study(tmp_path, 20), SETTINGS)
    row = measured_cell(score_set, score_set.files[0]).row
    assert all(np.isnan(row[f"candidate_mass{end}"]) for end in ("", "_low", "_high"))


def test_means_of_the_mass_need_it_of_every_language_and_seed(tmp_path):
    cells = measured_cells(letters_study(tmp_path, seeds=("1", "2")))
    both, _ = pooling.pool(cells)
    means = {(row["seed"], row["group"]): row for row in pooling.mean_rows([*cells, *both])}
    values = [cell.further["candidate_mass"][0] for cell in cells]
    assert means["all", "all"]["candidate_mass"] == pytest.approx(np.mean(values), abs=1e-15)
    assert means["1", "all"]["candidate_mass"] == pytest.approx(np.mean(values[:2]), abs=1e-15)
    row = means["all", "all"]
    assert row["candidate_mass_low"] < row["candidate_mass"] < row["candidate_mass_high"]
    without = replace(cells[0], further={})
    pooled, _ = pooling.pool([without, *cells[1:]])
    assert [not cell.further for cell in pooled] == [cell.cell["language"] == "de" for cell in pooled]
    [row] = [row for row in pooling.mean_rows(pooled) if row["group"] == "all"]
    assert np.isnan(row["candidate_mass"])
    assert row["accuracy"] > 0


def test_the_spread_over_orders_is_a_mean_over_questions(tmp_path):
    files = letters_study(tmp_path)
    spread = np.linspace(0, 0.5, 40).astype(np.float32)
    for path in files:
        rows, facts = records.read_scores(path).to_pylist(), records.metadata(path)
        rows = [{**row, "order_spread": value} for row, value in zip(rows, spread, strict=True)]
        records.write(path, rows, records.SCORE.append(order_spread.FIELD), {"cell": facts["cell"]})
    cells = measured_cells(files)
    for found in cells:
        row = found.row
        assert row["order_spread"] == pytest.approx(0.25, abs=1e-7)
        assert 0.15 < row["order_spread_low"] < 0.25 < row["order_spread_high"] < 0.35
    [mean] = [row for row in pooling.mean_rows(cells) if row["group"] == "all"]
    assert mean["order_spread"] == pytest.approx(0.25, abs=1e-7)
    assert summary([files[0]])["order_spread"][0] == pytest.approx(0.25, abs=1e-7)
