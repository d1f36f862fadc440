import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycal.study import grid
from polycal.study.config_loading import ConfigError, load, merge, resolve
from polycal.study.config_values import canonical_number

BASE = {
    "study": "s",
    "models": {"m": {"path": "m"}},
    "data": {"d": {"path": "d", "format": "alpaca"}},
    "benchmarks": {"b": {"path": "b", "format": "file", "languages": ["en", "fr", "yo"]}},
    "languages": {
        code: {"name": code, "script": "Latin", "resource": level}
        for code, level in [("en", "high"), ("fr", "high"), ("yo", "low")]
    },
    "recipes": {
        "r": {"learning_rates": [5e-06], "epochs": 2, "warmup_ratio": 0.02, "global_batch_size": 8},
        "long": {"extends": "r", "epochs": 4},
    },
    "protocols": {"p": {"candidates": "letters"}},
    "grid": {
        "models": ["m"],
        "data": ["d"],
        "recipes": ["r"],
        "betas": [0, "0.10"],
        "seeds": [42],
        "benchmarks": ["b"],
        "protocols": ["p"],
    },
}


@pytest.mark.parametrize(
    ("value", "spelled"),
    [
        (0.1, "0.1"),
        ("0.10", "0.1"),
        (".1", "0.1"),
        (0, "0"),
        ("-0.0", "0"),
        (5e-06, "5e-6"),
        ("1e-5", "1e-5"),
        (0.0001, "0.0001"),
        (1.5e-07, "1.5e-7"),
        (42, "42"),
        (128.0, "128"),
    ],
)
def test_a_number_has_one_spelling(value, spelled):
    assert canonical_number(value) == spelled


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_spelling_keeps_value_and_spells_itself_alike(value):
    text = canonical_number(value)
    assert float(text) == value
    assert canonical_number(text) == text


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
        ({"benchmarks": {"b": {"languages": ["en", "en"]}}}, r"benchmarks\.b\.languages: contains 'en' twice"),
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


def test_a_recipe_takes_over_what_it_does_not_say():
    recipes = resolve(BASE).recipes
    assert (recipes["long"].epochs, recipes["long"].global_batch_size, recipes["long"].learning_rates) == (
        "4",
        8,
        ["5e-6"],
    )


def test_broken_yaml_names_the_file(tmp_path):
    (tmp_path / "c.yaml").write_text("grid: [")
    with pytest.raises(ConfigError, match=r"c\.yaml: not valid YAML"):
        load([tmp_path / "c.yaml"])


def test_the_grid_is_bases_and_products_once():
    config = resolve(merge(BASE, {"grid": {"extra": [{"betas": ["0.1", 0.2], "languages": ["yo"]}]}}))
    cells = grid.cells(grid.blocks(config))
    # three languages of the base and of β 0 and 0.1, and one language of β 0.2
    assert len(cells) == 3 * 3 + 1
    assert [c.language for c in cells if c.beta == "0.2"] == ["yo"]
    assert len([c for c in cells if c.data == "none"]) == 3


def test_jobs_group_languages_and_every_record_has_one_path():
    config = resolve(merge(BASE, {"languages_per_job": 2}))
    assert grid.batches(config) == [("b", 0, ["en", "fr"]), ("b", 1, ["yo"])]
    paths = [str(path) for path in grid.score_records({"grid": grid.blocks(config)})]
    assert len(set(paths)) == len(paths) == 9
    assert paths[0].startswith(
        "results/scores/model=m/base_seed=none/data=d/recipe=r/beta=0/seed=42/benchmark=b/protocol=p/"
    )


def test_a_local_frame_without_labels_for_a_language_is_refused_before_any_job():
    local = {"protocols": {"p": {"candidates": "letters", "prompt_language": "local"}}}
    assert resolve(merge(BASE, local)).protocols["p"].prompt_language == "local"
    more = {"benchmarks": {"b": {"languages": ["en", "am"]}}, "languages": {"am": BASE["languages"]["yo"]}}
    with pytest.raises(
        ConfigError, match=r"grid\.protocols: p with prompt_language local: 'am' is not in the labels"
    ):
        resolve(merge(merge(BASE, local), more))


FAKE = "hf_" + "x1Y2" * 9


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hf_token", "short"),
        ("hf_token", FAKE),
        ("models", {"mine": {"path": "model", "licence": f"see {FAKE}"}}),
        ("data", {FAKE: {"path": "model"}}),
        ("data", {"mine": {"path": "https://me:pass@host/data"}}),
        ("grid", {"models": [FAKE]}),
        ("models", {"mine": {"path": "model", "api_key": "k"}}),
    ],
)
def test_secrets_are_refused_without_being_shown(key, value):
    with pytest.raises(ConfigError, match="looks like a secret") as refused:
        resolve({key: value})
    assert FAKE not in str(refused.value)
    assert "pass@" not in str(refused.value)


def test_a_key_that_speaks_of_tokens_is_no_secret():
    told = merge(BASE, {"next_token": {"data": ["d"]}})
    assert resolve(told).next_token.data == ["d"]
    with pytest.raises(ConfigError, match="looks like a secret"):
        resolve(merge(BASE, {"models": {"m": {"hf_token": "x"}}}))


def test_pmi_as_normalisation_needs_protocols_that_record_it():
    asked = {"protocols": {"p": {"candidates": "letters"}}, "measure": {"normalise": {"letters": "pmi"}}}
    with pytest.raises(
        ConfigError, match=r"measure\.normalise\.letters: 'pmi' needs pmi: true in protocol 'p'"
    ):
        resolve(merge(BASE, asked))
    asked["protocols"]["p"]["pmi"] = True
    assert resolve(merge(BASE, asked)).measure.normalise.letters == "pmi"
