import numpy as np
import pytest

from polycal.analysis import bootstrap, score_arrays
from polycal.metrics import calibration, smooth_calibration

N = 80


def outcome(seed=0, n=N, options=4):
    rng = np.random.default_rng(seed)
    score = rng.normal(0, 2, (n, options))
    log_p = score - np.log(np.exp(score).sum(1, keepdims=True))
    gold = (score * 0.6 + rng.gumbel(size=score.shape)).argmax(1)
    return score_arrays.outcomes(log_p, gold, np.full(n, options))


@pytest.fixture(scope="module")
def resamples():
    return bootstrap.Resamples("mmlu-prox", [f"q{place}" for place in range(N)], 40, 0)


@pytest.mark.parametrize("binning", ["width", "mass"])
@pytest.mark.parametrize("bins", [1, 7, 15])
def test_draws_are_the_metrics_of_the_repeated_questions(resamples, bins, binning):
    found = outcome()
    drawn = bootstrap.draws(found, resamples.weights, bins=bins, binning=binning)
    assert drawn.shape == (40, len(bootstrap.METRICS))
    for values, weights in zip(drawn, resamples.weights.astype(int), strict=True):
        repeated = score_arrays.Outcomes(
            **{
                name: np.repeat(getattr(found, name), weights)
                for name in ("confidence", "correct", "entropy", "entropy_normalised", "brier", "nll")
            },
            ties=0,
        )
        assert values == pytest.approx(bootstrap.estimates(repeated, bins=bins, binning=binning), abs=1e-12)


def test_estimates_are_the_functions_of_calibration():
    found = outcome()
    named = dict(zip(bootstrap.METRICS, bootstrap.estimates(found, bins=15, binning="width"), strict=True))
    assert named["ece"] == pytest.approx(calibration.ece(found.confidence, found.correct), abs=1e-15)
    rms = calibration.rms_calibration_error(found.confidence, found.correct)
    assert named["rms"] == pytest.approx(rms, abs=1e-15)
    assert named["gap"] == pytest.approx(found.confidence.mean() - found.correct.mean(), abs=1e-15)


def test_smooth_draws_are_close_to_the_metric(resamples):
    found = outcome()
    drawn = bootstrap.smooth_draws(found, resamples.weights)
    for value, weights in zip(drawn, resamples.weights.astype(int), strict=True):
        exact = smooth_calibration.smooth_ece(
            np.repeat(found.confidence, weights), np.repeat(found.correct, weights)
        )
        assert value == pytest.approx(exact, abs=2e-3)


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_varying_draws_of_one_node_are_draws(resamples, binning):
    found = outcome()
    mix = np.ones((40, 1))
    varying = bootstrap.varying_draws(mix, [found], resamples.weights, bins=15, binning=binning)
    plain = bootstrap.draws(found, resamples.weights, bins=15, binning=binning)
    assert varying == pytest.approx(plain, abs=1e-12)


def test_resamples_are_reproducible_and_differ_by_seed_and_benchmark():
    ids = ["b", "a", "c"] * 2
    one = bootstrap.Resamples("x", ids, 5, 0)
    assert (one.weights == bootstrap.Resamples("x", ids, 5, 0).weights).all()
    assert (one.weights.sum(1) == 3).all()
    assert (one.weights != bootstrap.Resamples("x", ids, 5, 1).weights).any()
    assert (one.weights != bootstrap.Resamples("y", ids, 5, 0).weights).any()


def test_places_follow_the_ids():
    found = bootstrap.Resamples("x", ["a", "b", "c"], 5, 0)
    assert found.places(np.array(["a", "b", "c"], object)) is found.everything
    places = found.places(np.array(["c", "a"], object))
    assert places.tolist() == [2, 0]
    assert (found.take(found.weights, places) == found.weights[:, [2, 0]]).all()
    assert found.take(found.weights, found.everything) is found.weights


def test_interval_holds_the_estimate_and_the_spread():
    rng = np.random.default_rng(0)
    drawn = rng.normal(5.0, 1.0, (20_000, 1))  # draws that are all above the estimate
    low, high = bootstrap.interval(np.array([2.0]), drawn)
    assert low[0] == pytest.approx(2.0 - 1.96, abs=0.05)
    assert high[0] == pytest.approx(2.0 + 1.96, abs=0.05)


def test_interval_covers_the_expected_ece_nineteen_times_of_twenty():
    rng = np.random.default_rng(0)
    n, trials = 300, 250

    def sample():
        confidence = rng.uniform(0.4, 1.0, n)
        correct = (rng.random(n) < confidence - 0.15).astype(float)
        zero = np.zeros(n)
        return score_arrays.Outcomes(confidence, correct, zero, zero, zero, zero, 0)

    ids = [f"q{place}" for place in range(n)]
    weights = bootstrap.Resamples("x", ids, 200, 0).weights
    place = bootstrap.METRICS.index("ece")
    expected = np.mean([bootstrap.estimates(sample(), bins=15, binning="width")[place] for _ in range(2000)])
    inside = 0
    for _ in range(trials):
        found = sample()
        estimate = bootstrap.estimates(found, bins=15, binning="width")
        low, high = bootstrap.interval(estimate, bootstrap.draws(found, weights, bins=15, binning="width"))
        inside += low[place] <= expected <= high[place]
    assert 0.90 <= inside / trials <= 0.99


def test_one_question_has_an_interval_of_its_own_value():
    found = outcome(n=1)
    weights = bootstrap.Resamples("x", ["a"], 10, 0).weights
    estimate = bootstrap.estimates(found, bins=15, binning="width")
    low, high = bootstrap.interval(estimate, bootstrap.draws(found, weights, bins=15, binning="width"))
    assert low == pytest.approx(estimate)
    assert high == pytest.approx(estimate)


def test_p_is_uniform_without_an_effect_and_small_with_one():
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(999, 400))
    p = bootstrap.p_value(rng.normal(size=400), noise)
    assert 0.02 < (p < 0.05).mean() < 0.09
    assert bootstrap.p_value(np.array([9.0]), noise[:, :1])[0] == pytest.approx(1 / 1000)


def test_no_difference_at_all_has_p_one():
    assert bootstrap.p_value(np.array([0.0]), np.zeros((99, 1)))[0] == 1.0


def test_false_discovery_of_a_worked_example():
    # Benjamini & Hochberg 1995, section 3.2, the first five of fifteen p values
    p = np.array([0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240])
    p = np.concatenate([p, [0.4262, 0.5719, 0.6528, 0.7590, 1.0]])
    q = bootstrap.false_discovery(p)
    assert (q <= 0.05).sum() == 4
    assert q[:4] == pytest.approx([0.0015, 0.003, 0.0095, 0.035625])
    assert (np.diff(q) >= 0).all()
    shuffled = np.array([0.04, np.nan, 0.01])
    assert bootstrap.false_discovery(shuffled) == pytest.approx([0.04, np.nan, 0.02], nan_ok=True)


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_noise_floor_is_the_ece_of_a_calibrated_model(binning):
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.3, 1, 300)
    uniform = rng.random((200, 300), dtype=np.float32)
    mean, high = bootstrap.noise_floor(confidence, uniform, bins=15, binning=binning)
    plain = [
        calibration.ece(confidence, rng.random(300) < confidence, bins=15, binning=binning)
        for _ in range(400)
    ]
    assert mean == pytest.approx(np.mean(plain), abs=0.003)
    assert high == pytest.approx(np.quantile(plain, 0.95), abs=0.006)


def test_noise_floor_of_certain_answers_is_zero():
    uniform = np.random.default_rng(0).random((200, 10), dtype=np.float32)
    assert bootstrap.noise_floor(np.ones(10), uniform, bins=15, binning="width") == (0.0, 0.0)
