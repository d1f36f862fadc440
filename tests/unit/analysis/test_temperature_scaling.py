import numpy as np
import pandas as pd
import pytest
from helpers.score_records import LANGUAGES, SETTINGS, study

from polycal.analysis import bootstrap, cell_metrics, measure, score_arrays, temperature_scaling
from polycal.metrics import calibration, recalibration


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    measure.measure(study(folder, n=400), settings=SETTINGS, out=folder / "tables", note={})
    return pd.read_parquet(folder / "tables" / "cures.parquet")


def test_a_fifth_is_held_out_the_same_everywhere():
    held = [temperature_scaling.held_out(f"q{place}") for place in range(10_000)]
    assert np.mean(held) == pytest.approx(0.2, abs=0.015)
    assert temperature_scaling.held_out("q0") == temperature_scaling.held_out("q0")


def test_every_cure_of_every_checkpoint(rows):
    assert list(rows.columns) == list(temperature_scaling.COLUMNS)
    assert len(rows) == 3 * 4 * (len(LANGUAGES) + 1)
    assert (rows[rows["cure"] == "none"]["temperature"] == 1).all()


def test_temperatures_are_fitted_where_they_say(rows):
    kept = rows[(rows["beta"] == "0") & (rows["language"] != "mean")].set_index(["cure", "language"])
    own, english, level = (kept.loc[cure]["temperature"] for cure in ("language", "english", "resource"))
    assert english.nunique() == 1
    assert english.iloc[0] == own["en"]
    assert level["en"] == level["de"]
    assert min(own["en"], own["de"]) < level["en"] < max(own["en"], own["de"])
    assert level["yo"] == pytest.approx(own["yo"], rel=1e-12)


def test_scaling_cures_sharpness_and_keeps_the_answers(rows):
    mean = rows[rows["language"] == "mean"].set_index(["beta", "cure"])
    assert mean.loc[("0", "english"), "temperature"] > 1.5
    for beta in ("0", "0.1"):
        plain = mean.loc[(beta, "none")]
        for cure in ("english", "language", "resource"):
            cured = mean.loc[(beta, cure)]
            assert cured["accuracy"] == pytest.approx(plain["accuracy"], abs=1e-15)
            assert cured["nll"] < plain["nll"]
            assert cured["ece"] < plain["ece"]


def test_cut_is_against_the_unsmoothed_uncured(rows):
    mean = rows[rows["language"] == "mean"].set_index(["beta", "cure"])
    reference = mean.loc[("0", "none"), "ece"]
    for beta in ("0", "0.1"):
        for cure in temperature_scaling.CURES:
            row = mean.loc[(beta, cure)]
            assert row["cut"] == pytest.approx(1 - row["ece"] / reference, abs=1e-12)
    assert mean.loc[("none", "none"), "cut"] == 0.0


def test_intervals_hold_their_estimates(rows):
    for name in (*bootstrap.METRICS, "temperature"):
        assert (rows[f"{name}_low"] <= rows[name] + 1e-12).all(), name
        assert (rows[name] <= rows[f"{name}_high"] + 1e-12).all(), name


def halves(n=300, draws=25):
    rng = np.random.default_rng(0)
    score = rng.normal(0, 3, (n, 5))
    gold = (score / 2 + rng.gumbel(size=score.shape)).argmax(1)
    weights = np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(draws)]).astype(float)
    correct = (score.argmax(1) == gold).astype(float)
    return temperature_scaling.Half(recalibration.relative(score), gold, correct, np.full(n, 5), weights)


def test_outcomes_at_a_temperature_are_the_metrics_of_the_softened_distribution():
    half = halves()
    p = np.exp(half.below / 1.7)
    p /= p.sum(1, keepdims=True)
    found = temperature_scaling.outcomes_at(half, 1.7)
    assert found.confidence == pytest.approx(p.max(1), abs=1e-15)
    assert found.brier.mean() == pytest.approx(calibration.brier(p, half.gold), abs=1e-14)
    assert found.nll.mean() == pytest.approx(calibration.nll(p, half.gold), abs=1e-13)
    assert found.entropy.mean() == pytest.approx(calibration.entropy(p), abs=1e-13)


@pytest.mark.parametrize("spread", [0.05, 0.5])
@pytest.mark.parametrize("binning", ["width", "mass"])
def test_interpolated_draws_are_those_of_each_temperature(spread, binning):
    half = halves()
    temperatures = 2 * np.exp(np.random.default_rng(1).uniform(-spread, spread, len(half.weights)))
    found = temperature_scaling.refitted_draws(half, temperatures, bins=15, binning=binning)
    for values, temperature, weights in zip(found, temperatures, half.weights, strict=True):
        exact = bootstrap.draws(
            temperature_scaling.outcomes_at(half, temperature), weights[None, :], bins=15, binning=binning
        )[0]
        assert values == pytest.approx(exact, abs=2e-6)


def test_without_english_the_english_fit_is_left_out(tmp_path):
    files = study(tmp_path, n=60, languages=("de", "yo"))
    shared = cell_metrics.Study(files, SETTINGS)
    sides = []
    for path in shared.series()[0]:
        source = score_arrays.read(path)
        sides.append(temperature_scaling.split(shared, source, shared.log_probabilities(source)))
    assert {one.cure for one in temperature_scaling.cure_series(shared, sides)} == {
        "none",
        "language",
        "resource",
    }


def test_one_question_cannot_be_cut_in_two(tmp_path):
    shared = cell_metrics.Study(study(tmp_path, n=1, languages=("en",)), SETTINGS)
    source = score_arrays.read(shared.files[0])
    assert temperature_scaling.split(shared, source, shared.log_probabilities(source)) is None
