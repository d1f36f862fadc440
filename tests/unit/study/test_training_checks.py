"""Combinations that no training job can run are refused before any job."""

import pytest
from helpers.studies import BASE

from polycal.study.config_loading import ConfigError, merge, resolve


def test_a_global_batch_divides_into_the_micro_batches_of_all_processes():
    two_nodes = {"models": {"m": {"training_gpus": 2, "training_nodes": 2}}}
    assert resolve(merge(BASE, two_nodes)).models["m"].training_world == 4
    with pytest.raises(
        ConfigError,
        match=r"grid: recipes\.r\.global_batch_size 8 is not a multiple of 16, its micro_batch_size 4 times"
        r" the 4 processes that train model 'm'\.",
    ):
        resolve(merge(merge(BASE, two_nodes), {"recipes": {"r": {"micro_batch_size": 4}}}))


def test_only_models_that_a_recipe_trains_count():
    machine = {"models": {"m": {"training_gpus": 3}, "other": {"path": "o"}}}
    trained = merge(BASE, machine)
    with pytest.raises(ConfigError, match="is not a multiple of 3"):
        resolve(trained)
    resolve(merge(trained, {"grid": {"models": ["other"]}}))
    resolve(merge(trained, {"grid": {"data": []}}))
    extra = {"grid": {"models": ["other"], "extra": [{"models": ["m"]}]}}
    with pytest.raises(ConfigError, match=r"grid\.extra\[0\]: recipes\.r\.global_batch_size"):
        resolve(merge(trained, extra))


def test_several_learning_rates_need_held_out_conversations():
    several = merge(BASE, {"recipes": {"r": {"learning_rates": [1e-5, 5e-6]}}})
    resolve(several)
    none_held_out = {"data": {"d": {"heldout": 0.0}}}
    with pytest.raises(
        ConfigError,
        match=r"grid: recipe 'r' has 2 learning rates to be compared on held-out conversations, but data\.d\.heldout is 0",
    ):
        resolve(merge(several, none_held_out))
    resolve(merge(BASE, none_held_out))
