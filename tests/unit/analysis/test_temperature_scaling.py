import numpy as np
import pandas as pd
import pytest
from helpers.measured import write_tables
from helpers.score_records import LANGUAGES, SETTINGS, study

from polycal.analysis import bootstrap, question_split, score_arrays, temperature_scaling
from polycal.analysis.score_set import ScoreSet
from polycal.metrics import probability_scores, recalibration


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    write_tables(study(folder, n=400), folder / "tables")
    return pd.read_parquet(folder / "tables" / "recalibration.parquet")


def split(score_set, path):
    questions = score_arrays.read(path)
    return question_split.split_questions(score_set, questions, score_set.log_probabilities(questions))


def test_every_method_for_every_checkpoint(rows):
    assert list(rows.columns) == list(temperature_scaling.COLUMNS)
    assert len(rows) == 3 * 4 * (len(LANGUAGES) + 1)
    assert (rows[rows["method"] == "none"]["temperature"] == 1).all()


def test_temperatures_are_fitted_where_the_method_says(rows):
    chosen = rows[(rows["beta"] == "0") & (rows["language"] != "mean")].set_index(["method", "language"])
    single, english, level = (
        chosen.loc[method]["temperature"] for method in ("language", "english", "resource")
    )
    assert english.nunique() == 1
    assert english.iloc[0] == single["en"]
    assert level["en"] == level["de"]
    assert min(single["en"], single["de"]) < level["en"] < max(single["en"], single["de"])
    assert level["yo"] == pytest.approx(single["yo"], rel=1e-12)


def test_scaling_corrects_sharpness_and_keeps_the_answers(rows):
    mean = rows[rows["language"] == "mean"].set_index(["beta", "method"])
    assert mean.loc[("0", "english"), "temperature"] > 1.5
    for beta in ("0", "0.1"):
        plain = mean.loc[(beta, "none")]
        for method in ("english", "language", "resource"):
            scaled = mean.loc[(beta, method)]
            assert scaled["accuracy"] == pytest.approx(plain["accuracy"], abs=1e-15)
            assert scaled["nll"] < plain["nll"]
            assert scaled["ece"] < plain["ece"]


def test_reduction_is_against_the_unsmoothed_model_without_a_temperature(rows):
    mean = rows[rows["language"] == "mean"].set_index(["beta", "method"])
    reference = mean.loc[("0", "none"), "ece"]
    for beta in ("0", "0.1"):
        for method in temperature_scaling.METHODS:
            row = mean.loc[(beta, method)]
            assert row["relative_ece_reduction"] == pytest.approx(1 - row["ece"] / reference, abs=1e-12)
    assert mean.loc[("none", "none"), "relative_ece_reduction"] == 0.0


def test_intervals_hold_their_estimates(rows):
    for name in (*bootstrap.METRICS, "temperature"):
        assert (rows[f"{name}_low"] <= rows[name] + 1e-12).all(), name
        assert (rows[name] <= rows[f"{name}_high"] + 1e-12).all(), name


def invented_questions(n=300, samples=25):
    rng = np.random.default_rng(0)
    score = rng.normal(0, 3, (n, 5))
    gold = (score / 2 + rng.gumbel(size=score.shape)).argmax(1)
    weights = np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(samples)]).astype(
        float
    )
    correct = (score.argmax(1) == gold).astype(float)
    return question_split.QuestionSplit(
        recalibration.log_ratios(score), gold, correct, np.full(n, 5), weights
    )


def test_outcomes_at_a_temperature_are_the_metrics_of_the_softened_distribution():
    questions = invented_questions()
    p = np.exp(questions.log_ratio / 1.7)
    p /= p.sum(1, keepdims=True)
    outcomes = temperature_scaling.outcomes_at(questions, 1.7)
    assert outcomes.confidence == pytest.approx(p.max(1), abs=1e-15)
    assert outcomes.brier.mean() == pytest.approx(probability_scores.brier(p, questions.gold), abs=1e-14)
    assert outcomes.nll.mean() == pytest.approx(probability_scores.nll(p, questions.gold), abs=1e-13)
    assert outcomes.entropy.mean() == pytest.approx(probability_scores.entropy(p), abs=1e-13)


@pytest.mark.parametrize("spread", [0.05, 0.5])
@pytest.mark.parametrize("binning", ["width", "mass"])
def test_interpolated_samples_are_those_of_each_temperature(spread, binning):
    questions = invented_questions()
    temperatures = 2 * np.exp(np.random.default_rng(1).uniform(-spread, spread, len(questions.weights)))
    samples = temperature_scaling.refitted_samples(questions, temperatures, bins=15, binning=binning)
    for values, temperature, weights in zip(samples, temperatures, questions.weights, strict=True):
        outcomes = temperature_scaling.outcomes_at(questions, temperature)
        exact = bootstrap.samples(outcomes, weights[None, :], bins=15, binning=binning)[0]
        assert values == pytest.approx(exact, abs=2e-6)


def test_without_english_the_english_fit_is_left_out(tmp_path):
    score_set = ScoreSet(study(tmp_path, n=60, languages=("de", "yo")), SETTINGS)
    splits = [split(score_set, path) for path in score_set.by_condition()[0]]
    methods = {result.method for result in temperature_scaling.recalibrate(score_set, splits)}
    assert methods == {"none", "language", "resource"}
