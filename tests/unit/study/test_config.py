"""What a configuration may contain, across its keys."""

import pytest
from helpers.studies import BASE

from polycal.study.config_loading import ConfigError, merge, resolve


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"grid": {"betas": [1.0]}}, r"grid\.betas\[0\]: 1\.0 is refused: must lie in \[0, 1\)"),
        ({"grid": {"betas": ["much"]}}, r"grid\.betas\[0\]: 'much' is refused: must be a number"),
        ({"grid": {"betas": [0.1, ".1"]}}, r"grid\.betas: contains '0\.1' twice"),
        ({"grid": {"models": ["n"]}}, r"grid\.models: 'n' is not in the catalogue 'models'"),
        ({"grid": {"languages": ["fre"]}}, r"grid\.languages: 'fre' .* did you mean 'fr'\?"),
        ({"grid": {"modles": ["m"]}}, r"grid\.modles: unknown key; did you mean 'models'\?"),
        ({"grid": {"extra": [{"data": ["x"]}]}}, r"grid\.extra\[0\]\.data: 'x' is not in"),
        (
            {"benchmarks": {"b": {"languages": ["en", "en"]}}},
            r"benchmarks\.b\.languages: contains 'en' twice",
        ),
        ({"benchmarks": {"b": {"languages": ["xx"]}}}, r"'xx' is not in the catalogue 'languages'"),
        ({"models": {"a b": {"path": "m"}}}, r"letters, digits, dot, underscore and hyphen"),
        (
            {"benchmarks": {"b": {"languages": ["en", False]}}},
            r"YAML reads a bare yes, no, on or off .* quotes",
        ),
        ({"data": {"d": {"sources": []}}}, r"data\.d\.sources: "),
        ({"data": {"d": {"sources": ["a/b", "a/b"]}}}, r"data\.d\.sources: contains 'a/b' twice"),
        ({"models": {"m": {"hub": "x/y"}}}, r"models\.m: needs exactly one of hub, path, miniature"),
        ({"models": {"h": {"hub": "x/y"}}}, r"models\.h: hub and revision belong together"),
        (
            {"recipes": {"r": {"micro_batch_size": 3}}},
            r"recipes\.r: global_batch_size 8 is not a multiple of micro_batch_size 3",
        ),
        ({"recipes": {"r": {"extends": "r"}}}, r"recipes\.r\.extends: 'r' leads back to itself"),
        (
            {"recipes": {"r": {"extends": "lnog"}}},
            r"recipes\.r\.extends: 'lnog' is not in the catalogue 'recipes'; did you mean 'long'\?",
        ),
        ({"data": {"d": {"format": "alpacca"}}}, r"data\.d\.format: 'alpacca' is refused"),
    ],
)
def test_what_is_wrong_is_named(change, sentence):
    with pytest.raises(ConfigError, match=sentence):
        resolve(merge(BASE, change))


def test_a_local_frame_without_labels_for_a_language_is_refused_before_any_job():
    local = {"protocols": {"p": {"candidates": "letters", "prompt_language": "local"}}}
    assert resolve(merge(BASE, local)).protocols["p"].prompt_language == "local"
    more = {"benchmarks": {"b": {"languages": ["en", "am"]}}, "languages": {"am": BASE["languages"]["yo"]}}
    with pytest.raises(
        ConfigError, match=r"grid\.protocols: p with prompt_language local: 'am' is not in the labels"
    ):
        resolve(merge(merge(BASE, local), more))


def test_pmi_as_normalisation_needs_protocols_that_record_it():
    asked = {"protocols": {"p": {"candidates": "letters"}}, "measure": {"normalise": {"letters": "pmi"}}}
    with pytest.raises(
        ConfigError, match=r"measure\.normalise\.letters: 'pmi' needs pmi: true in protocol 'p'"
    ):
        resolve(merge(BASE, asked))
    asked["protocols"]["p"]["pmi"] = True
    assert resolve(merge(BASE, asked)).measure.normalise.letters == "pmi"
