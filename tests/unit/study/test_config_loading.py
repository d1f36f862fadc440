"""Overlays, and entries that extend others."""

from pathlib import Path

import pytest
from helpers.studies import BASE

from polycal.study.config_loading import ConfigError, load, merge, resolve


def test_a_recipe_inherits_the_keys_that_it_does_not_give():
    recipes = resolve(BASE).recipes
    assert (recipes["long"].epochs, recipes["long"].global_batch_size, recipes["long"].learning_rates) == (
        "4",
        8,
        ["5e-6"],
    )


def test_the_message_about_broken_yaml_names_the_file(tmp_path):
    (tmp_path / "c.yaml").write_text("grid: [")
    with pytest.raises(ConfigError, match=r"c\.yaml: not valid YAML"):
        load([tmp_path / "c.yaml"])


def test_the_message_about_a_file_that_is_missing_or_no_mapping_names_it(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.yaml: no such configuration file"):
        load([Path("no.yaml")])
    (tmp_path / "list.yaml").write_text("[1]")
    with pytest.raises(ConfigError, match=r"list\.yaml: must contain a mapping of keys, not a list"):
        load([tmp_path / "list.yaml"])


def test_overlays_merge_mappings_and_replace_lists():
    merged = merge({"a": {"b": [1, 2], "c": 3}}, {"a": {"b": [4]}, "d": 5})
    assert merged == {"a": {"b": [4], "c": 3}, "d": 5}


def test_each_error_has_a_line_of_its_own():
    with pytest.raises(ConfigError) as refused:
        resolve(merge(BASE, {"measure": {"bins": "many"}, "languages_per_job": 0}))
    lines = str(refused.value).splitlines()
    assert [line.split(":")[0] for line in lines] == ["languages_per_job", "measure.bins"]
