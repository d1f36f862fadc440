"""A wrong value of any key of the configuration: the message names the key's path and what would be right."""

import re
import typing
from pathlib import Path

import pytest
import yaml

from polycal.study.config import (
    Config,
    Embeddings,
    Generation,
    Grid,
    Measure,
    Miniature,
    NextToken,
    Normalise,
    Planning,
    Sensitivity,
)
from polycal.study.config_catalogues import (
    Benchmark,
    BenchmarkPlanning,
    Data,
    DataPlanning,
    Language,
    Model,
    ModelPlanning,
    Protocol,
    Recipe,
)
from polycal.study.config_loading import ConfigError, merge, resolve

CONFIG = Path(__file__).parents[3] / "config"
RAW: dict = {}
for name in ("languages", "config", "mini"):
    RAW = merge(RAW, yaml.safe_load((CONFIG / f"{name}.yaml").read_text()))
MAPPINGS = {
    "": Config,
    "models.mistral-mini": Model,
    "data.alpaca-mini": Data,
    "benchmarks.global-mmlu-mini": Benchmark,
    "languages.en": Language,
    "recipes.mini": Recipe,
    "protocols.texts-0shot": Protocol,
    "grid": Grid,
    "measure": Measure,
    "measure.normalise": Normalise,
    "measure.sensitivity": Sensitivity,
    "miniature": Miniature,
    "planning": Planning,
    "models.mistral-mini.planning": ModelPlanning,
    "data.alpaca-mini.planning": DataPlanning,
    "benchmarks.global-mmlu-mini.planning": BenchmarkPlanning,
    "embeddings": Embeddings,
    "next_token": NextToken,
    "generation": Generation,
}
KEYS = [(path, key) for path, model in MAPPINGS.items() for key in model.model_fields]
CHOICES = [
    (path, key, field.annotation)
    for path, model in MAPPINGS.items()
    for key, field in model.model_fields.items()
    if typing.get_origin(field.annotation) is typing.Literal
]


def refusal(path, key, value):
    """The message about a study whose ``path.key`` is ``value``."""
    change = {key: value}
    for part in reversed(path.split(".") if path else []):
        change = {part: change}
    with pytest.raises(ConfigError) as refused:
        resolve(merge(RAW, change))
    return str(refused.value)


def at(path, key):
    return f"{path}.{key}" if path else key


def test_the_unchanged_study_is_accepted():
    assert resolve(RAW).study == "mini"


@pytest.mark.parametrize(("path", "key"), KEYS)
def test_a_value_of_the_wrong_kind_is_refused_by_its_path(path, key):
    # No key accepts a list of lists, and only free text accepts a slash.
    wrong_values = [[["wrong"]]] if key in FREE_TEXT else [[["wrong"]], "wr/ong"]
    for sentence in [refusal(path, key, value) for value in wrong_values]:
        assert re.search(rf"(?m)^{re.escape(at(path, key))}[.\[:]", sentence), sentence
        assert sentence.endswith(".")


FREE_TEXT = {"hub", "revision", "path", "file", "licence", "language", "config", "name", "script"}
"""Keys that accept any text."""


@pytest.mark.parametrize(("path", "key"), [pair for pair in KEYS if len(pair[1]) > 2])
def test_a_misspelt_key_gets_the_nearest_key_as_a_suggestion(path, key):
    # The first two letters are swapped, not the last ones, because language and languages differ at the end.
    typo = key[1] + key[0] + key[2:] if key[0] != key[1] else key + "s"
    assert f"{at(path, typo)}: unknown key; did you mean '{key}'?" in refusal(path, typo, 1)


@pytest.mark.parametrize(("path", "key", "allowed"), CHOICES)
def test_a_wrong_choice_names_what_is_allowed(path, key, allowed):
    sentence = refusal(path, key, "wrong")
    assert f"{at(path, key)}: 'wrong' is refused" in sentence
    for value in typing.get_args(allowed):
        assert str(value) in sentence


@pytest.mark.parametrize(
    ("path", "key", "value", "sentence"),
    [
        ("models.mistral-mini", "zero_stage", 1, "input should be 0, 2 or 3"),
        ("models.mistral-mini", "training_minutes", 0, "input should be greater than 0"),
        ("data.alpaca-mini", "heldout", 1, "must lie in [0, 1)"),
        ("recipes.mini", "learning_rates", [0], "must lie in [1e-12, 1e12]"),
        ("recipes.mini", "learning_rates", ["1e-3", 0.001], "contains '0.001' twice"),
        ("protocols.texts-0shot", "num_fewshot", 33, "input should be less than or equal to 32"),
        ("measure", "bins", 0, "input should be greater than 0"),
        ("", "languages_per_job", 0, "input should be greater than 0"),
        ("grid", "models", [], "list should have at least 1 item"),
        ("grid", "models", ["mistral-mimi"], "did you mean 'mistral-mini'?"),
        ("grid", "data", ["openhermes-mimi"], "did you mean 'openhermes-mini'?"),
        ("grid", "recipes", ["papre"], "did you mean 'paper'?"),
        ("grid", "benchmarks", ["mmlu-porx"], "did you mean 'mmlu-prox'?"),
        ("grid", "protocols", ["letters-0shots"], "did you mean 'letters-0shot'?"),
        ("grid", "seeds", ["a"], "must be a number"),
        ("grid", "betas", [-0.1], "must lie in [0, 1)"),
    ],
)
def test_a_value_out_of_bounds_names_the_bounds(path, key, value, sentence):
    message = refusal(path, key, value)
    assert message.startswith(at(path, key))
    assert sentence.lower() in message.lower()
