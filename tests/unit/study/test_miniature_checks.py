"""Names that the miniature does not have are refused before any job."""

import pytest
from helpers.studies import BASE, MINIATURE

from polycal.miniature import pretraining
from polycal.study.config_loading import ConfigError, merge, resolve
from polycal.study.miniature_checks import ARCHITECTURES


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"models": {"mini": {"miniature": "lama"}}},
            r"models\.mini\.miniature: 'lama' .* did you mean 'llama'\?",
        ),
        ({"data": {"mini": {"miniature": "alpacca"}}}, r"data\.mini\.miniature: 'alpacca' is not in"),
        ({"benchmarks": {"mini": {"miniature": "mmlu"}}}, r"benchmarks\.mini\.miniature: 'mmlu' is not in"),
        ({"miniature": {"languages": ["en", "xx"]}}, r"miniature\.languages: 'xx' is not in"),
        (
            {"miniature": {"languages": ["en", "de"]}, "grid": {"benchmarks": ["mini"]}},
            r"benchmarks\.mini\.languages: 'fr' is not in miniature",
        ),
    ],
)
def test_a_name_that_the_miniature_does_not_have_is_refused(change, sentence):
    raw = merge(BASE, MINIATURE)
    resolve(raw)
    with pytest.raises(ConfigError, match=sentence):
        resolve(merge(raw, change))


def test_a_benchmark_that_the_grid_does_not_use_may_have_other_languages():
    resolve(merge(merge(BASE, MINIATURE), {"miniature": {"languages": ["en", "de"]}}))


def test_the_architectures_are_those_that_can_be_built():
    assert set(ARCHITECTURES) == set(pretraining.SPECIAL_TOKENS)
