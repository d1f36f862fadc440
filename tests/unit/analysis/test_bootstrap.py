import numpy as np
import pytest

from polycal.analysis import bootstrap, interpolated_bootstrap
from polycal.analysis.intervals import interval
from polycal.analysis.question_outcomes import QuestionOutcomes, outcomes
from polycal.analysis.resampling import Resamples
from polycal.metrics import calibration, smooth_calibration

N = 80
FIELDS = ("confidence", "correct", "entropy", "entropy_normalised", "brier", "nll")


def invented_outcomes(seed=0, n=N, options=4):
    rng = np.random.default_rng(seed)
    score = rng.normal(0, 2, (n, options))
    log_p = score - np.log(np.exp(score).sum(1, keepdims=True))
    gold = (score * 0.6 + rng.gumbel(size=score.shape)).argmax(1)
    return outcomes(log_p, gold, np.full(n, options))


def repeated(values, times):
    """The outcomes with each question repeated ``times`` times."""
    return QuestionOutcomes(**{name: np.repeat(getattr(values, name), times) for name in FIELDS}, ties=0)


@pytest.fixture(scope="module")
def resamples():
    return Resamples("mmlu-prox", [f"q{number}" for number in range(N)], 40, 0)


@pytest.mark.parametrize("binning", ["width", "mass"])
@pytest.mark.parametrize("bins", [1, 7, 15])
def test_samples_are_the_metrics_of_the_repeated_questions(resamples, bins, binning):
    values = invented_outcomes()
    samples = bootstrap.samples(values, resamples.weights, bins=bins, binning=binning)
    assert samples.shape == (40, len(bootstrap.METRICS))
    for metrics, weights in zip(samples, resamples.weights.astype(int), strict=True):
        expected = bootstrap.estimates(repeated(values, weights), bins=bins, binning=binning)
        assert metrics == pytest.approx(expected, abs=1e-12)


def test_clusters_of_one_question_are_questions(resamples):
    values = invented_outcomes()
    plain = bootstrap.samples(values, resamples.weights, bins=15, binning="width")
    clusters = bootstrap.samples(values, resamples.weights, bins=15, binning="width", cluster=np.arange(N))
    assert clusters == pytest.approx(plain, abs=1e-12)


def test_samples_of_clusters_are_the_metrics_of_the_repeated_clusters():
    values, cluster = invented_outcomes(), np.arange(N) // 4
    weights = Resamples("x", map(str, range(N // 4)), 20, 0).weights
    samples = bootstrap.samples(values, weights, bins=15, binning="width", cluster=cluster)
    for metrics, counts in zip(samples, weights.astype(int), strict=True):
        expected = bootstrap.estimates(repeated(values, counts[cluster]), bins=15, binning="width")
        assert metrics == pytest.approx(expected, abs=1e-12)


def test_estimates_are_the_functions_of_calibration():
    values = invented_outcomes()
    named = dict(zip(bootstrap.METRICS, bootstrap.estimates(values, bins=15, binning="width"), strict=True))
    assert named["ece"] == pytest.approx(calibration.ece(values.confidence, values.correct), abs=1e-15)
    rms = calibration.rms_calibration_error(values.confidence, values.correct)
    assert named["rms"] == pytest.approx(rms, abs=1e-15)
    assert named["gap"] == pytest.approx(values.confidence.mean() - values.correct.mean(), abs=1e-15)


def test_smooth_samples_are_close_to_the_metric(resamples):
    values = invented_outcomes()
    samples = bootstrap.smooth_ece_samples(values, resamples.weights)
    for value, weights in zip(samples, resamples.weights.astype(int), strict=True):
        exact = smooth_calibration.smooth_ece(
            np.repeat(values.confidence, weights), np.repeat(values.correct, weights)
        )
        assert value == pytest.approx(exact, abs=2e-3)


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_interpolation_with_one_node_is_the_plain_bootstrap(resamples, binning):
    values = invented_outcomes()
    interpolated = interpolated_bootstrap.interpolated_samples(
        np.ones((40, 1)), [values], resamples.weights, bins=15, binning=binning
    )
    plain = bootstrap.samples(values, resamples.weights, bins=15, binning=binning)
    assert interpolated == pytest.approx(plain, abs=1e-12)


def test_one_question_has_an_interval_of_its_own_value():
    values = invented_outcomes(n=1)
    weights = Resamples("x", ["a"], 10, 0).weights
    estimate = bootstrap.estimates(values, bins=15, binning="width")
    low, high = interval(estimate, bootstrap.samples(values, weights, bins=15, binning="width"))
    assert low == pytest.approx(estimate)
    assert high == pytest.approx(estimate)
