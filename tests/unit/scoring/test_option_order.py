"""Rotations and the mean over them, against a model of letters and options that is known in closed form."""

import numpy as np
import pytest

from polycal.scoring import option_order

QUESTION = {"question_id": "q", "question": "?", "options": ["a", "b", "c", "d"], "gold": 1}


def test_shifts_are_at_equal_distances_and_at_most_one_for_each_option():
    assert option_order.shifts(4, 4) == [0, 1, 2, 3]
    assert option_order.shifts(4, 2) == [0, 2]
    assert option_order.shifts(3, 10) == [0, 1, 2]
    assert option_order.shifts(10, 3) == [0, 3, 6]
    for options in range(2, 11):
        for rotations in range(1, 11):
            found = option_order.shifts(options, rotations)
            assert found[0] == 0
            assert len(set(found)) == len(found) == min(options, rotations)


@pytest.mark.parametrize("shift", range(4))
def test_rotated_options_return_to_their_places(shift):
    turned = option_order.rotated(QUESTION, shift)
    assert turned["options"][turned["gold"]] == "b"
    assert option_order.in_first_order(turned["options"], shift) == QUESTION["options"]
    assert QUESTION["options"] == ["a", "b", "c", "d"]


def orders(option, letter, mass):
    """Log-likelihoods of a model whose score of an option is ``option`` + ``letter`` of its letter."""
    found = []
    for shift in option_order.shifts(len(option), len(option)):
        turned = np.roll(option, -shift) + letter
        logprob = turned - np.log(np.exp(turned).sum()) + np.log(mass[shift])
        found.append(option_order.in_first_order(logprob.tolist(), shift))
    return found


def test_a_model_that_looks_at_the_options_only_has_no_spread():
    option = np.array([1.0, -0.5, 0.3, 2.0])
    mean, spread = option_order.mean_over_orders(orders(option, np.zeros(4), [0.5] * 4))
    assert spread == pytest.approx(0, abs=1e-15)
    assert np.exp(mean) == pytest.approx(0.5 * np.exp(option) / np.exp(option).sum(), abs=1e-15)


def test_a_model_that_looks_at_the_letters_only_is_uniform_in_the_mean():
    share = np.array([0.7, 0.1, 0.1, 0.1])
    mean, spread = option_order.mean_over_orders(orders(np.zeros(4), np.log(share), [0.8] * 4))
    assert np.exp(mean) == pytest.approx(0.8 / 4, abs=1e-15)
    assert spread == pytest.approx(np.abs(share - 0.25).sum() / 2, abs=1e-15)


def test_the_mean_has_the_mean_distribution_and_the_mean_mass():
    rng = np.random.default_rng(0)
    logprob = np.log(rng.dirichlet(np.ones(5), 3) * np.array([[0.9], [0.2], [0.01]]))
    mean, spread = option_order.mean_over_orders(logprob)
    p = np.exp(logprob) / np.exp(logprob).sum(1, keepdims=True)
    assert np.exp(mean).sum() == pytest.approx(np.exp(logprob).sum(1).mean(), abs=1e-15)
    assert np.exp(mean) / np.exp(mean).sum() == pytest.approx(p.mean(0), abs=1e-15)
    assert spread == pytest.approx((np.abs(p - p.mean(0)).sum(1) / 2).mean(), abs=1e-15)


def test_tiny_probabilities_stay_finite():
    mean, spread = option_order.mean_over_orders([[0.0, -2000.0], [-2000.0, -4000.0]])
    assert np.isfinite(mean).all()
    assert mean[0] - mean[1] == pytest.approx(2000.0)
    assert spread == 0.0
