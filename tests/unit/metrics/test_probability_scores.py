import math

import numpy as np
import pytest

from polycal.metrics import probability_scores


def test_metrics_of_a_uniform_distribution():
    p, gold = np.full((6, 4), 0.25), np.array([0, 1, 2, 3, 0, 0])
    assert probability_scores.entropy(p) == pytest.approx(math.log(4), abs=1e-15)
    assert probability_scores.entropy(p, normalised=True) == pytest.approx(1.0, abs=1e-15)
    assert probability_scores.brier(p, gold) == pytest.approx(0.75, abs=1e-15)
    assert probability_scores.nll(p, gold) == pytest.approx(math.log(4), abs=1e-15)
    assert probability_scores.accuracy(p, gold) == 0.5


def test_certain_and_wrong():
    p = np.array([[1.0, 0.0]])
    assert probability_scores.entropy(p) == 0.0
    assert probability_scores.brier(p, np.array([1])) == 2.0
    assert probability_scores.nll(p, np.array([1])) == math.inf


def test_questions_with_different_numbers_of_options_and_normalisations():
    logprob, tokens, size = [[-1.0, -4.0], [-3.0, -3.0, -6.0]], [[1, 4], [1, 3, 2]], [[2, 8], [3, 6, 6]]
    summed = probability_scores.option_probabilities(logprob)
    assert summed[0, 2] == 0.0
    assert summed[0, 0] == pytest.approx(1 / (1 + math.exp(-3)), abs=1e-15)
    token = probability_scores.option_probabilities(logprob, "token", option_tokens=tokens)
    assert token[0, 0] == pytest.approx(0.5, abs=1e-15)
    byte = probability_scores.option_probabilities(logprob, "byte", option_bytes=size)
    weights = np.exp([-1.0, -0.5, -1.0])
    assert byte[1] == pytest.approx(weights / weights.sum(), abs=1e-15)


def test_probabilities_do_not_overflow():
    assert probability_scores.option_probabilities([[-1e5, -1e5 - 1]])[0, 0] == pytest.approx(
        1 / (1 + math.exp(-1)), abs=1e-12
    )


def test_one_class():
    p, gold = np.ones((3, 1)), np.zeros(3, int)
    assert probability_scores.accuracy(p, gold) == 1.0
    assert probability_scores.entropy(p) == 0.0
    assert probability_scores.entropy(p, normalised=True) == 0.0
    assert probability_scores.brier(p, gold) == 0.0
    assert probability_scores.nll(p, gold) == 0.0


def test_normalised_entropy_uses_the_numbers_of_options():
    p = np.array([[0.5, 0.5, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]])
    assert probability_scores.entropy(p, normalised=True) == pytest.approx(1.0, abs=1e-15)
    assert probability_scores.entropy(p, normalised=True, options=[4, 4]) == pytest.approx(0.75, abs=1e-15)
    assert probability_scores.entropy(p, normalised=True, options=[2, 4]) == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: probability_scores.brier([[0.5, 0.4]], [0]), "sums to 0.9"),
        (lambda: probability_scores.nll([[0.5, 0.5]], [2]), "lie in 0"),
        (lambda: probability_scores.nll([[math.nan, 0.5]], [0]), "finite"),
        (lambda: probability_scores.accuracy([[0.5, 0.5]], [0.0]), "integer"),
        (lambda: probability_scores.option_probabilities([[-1.0]], "token"), "needs option_tokens"),
        (lambda: probability_scores.option_probabilities([[-math.inf, 0.0]]), "only finite"),
        (lambda: probability_scores.option_probabilities([]), "at least one"),
        (
            lambda: probability_scores.option_probabilities([[-1.0, -2.0]], "token", option_tokens=[[1]]),
            "same number of options",
        ),
        (
            lambda: probability_scores.option_probabilities([[-1.0, -2.0]], "byte", option_bytes=[[0, 3]]),
            "at least 1",
        ),
        (
            lambda: probability_scores.entropy([[0.5, 0.5]], normalised=True, options=[1]),
            "zero beyond a row's last option",
        ),
        (lambda: probability_scores.entropy([[1.0]], normalised=True, options=[1]), "at least 2"),
        (lambda: probability_scores.accuracy([[0.5, 0.5]], [-1]), "lie in 0"),
        (lambda: probability_scores.entropy([0.5, 0.5]), r"must be \[N, K\]"),
        (lambda: probability_scores.brier([[1.5, -0.5]], [0]), "not negative"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
