"""Checks of a configuration that involve several keys, and values that are not what they seem."""

import json
from pathlib import Path

import pytest
import yaml
from helpers.studies import BASE

from polycal.data.world.languages import LANGUAGES, VARIANTS
from polycal.study import config_files, identities
from polycal.study.config_loading import ConfigError, merge, resolve


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"grid": {"betas": [1.0]}}, r"grid\.betas\[0\]: 1\.0 is refused: must lie in \[0, 1\)"),
        ({"grid": {"betas": ["much"]}}, r"grid\.betas\[0\]: 'much' is refused: must be a number"),
        ({"grid": {"betas": [0.1, ".1"]}}, r"grid\.betas: contains '0\.1' twice"),
        ({"grid": {"models": ["n"]}}, r"grid\.models: 'n' is not in the catalogue 'models'"),
        ({"grid": {"languages": ["fre"]}}, r"grid\.languages: 'fre' .* did you mean 'fr'\?"),
        ({"reliability_languages": ["fre"]}, r"reliability_languages: 'fre' .* did you mean 'fr'\?"),
        ({"grid": {"modles": ["m"]}}, r"^grid\.modles: unknown key; did you mean 'models'\?$"),
        ({"grid": {"extra": [{"data": ["x"]}]}}, r"grid\.extra\[0\]\.data: 'x' is not in"),
        (
            {"benchmarks": {"b": {"languages": ["en", "en"]}}},
            r"benchmarks\.b\.languages: contains 'en' twice",
        ),
        ({"benchmarks": {"b": {"languages": ["xx"]}}}, r"'xx' is not in the catalogue 'languages'"),
        ({"models": {"a b": {"path": "m"}}}, r"letters, digits, dot, underscore and hyphen"),
        (
            {"benchmarks": {"b": {"languages": ["en", False]}}},
            r"YAML reads yes, no, on and off without quotes .* in quotes",
        ),
        ({"data": {"d": {"sources": []}}}, r"data\.d\.sources: "),
        ({"data": {"d": {"sources": ["a/b", "a/b"]}}}, r"data\.d\.sources: contains 'a/b' twice"),
        ({"models": {"m": {"hub": "x/y"}}}, r"models\.m: needs exactly one of hub, path, miniature"),
        (
            {"models": {"m": {"sha256": ["0" * 64]}}},
            r"models\.m: sha256 and file belong to packages; add packages or remove them",
        ),
        ({"models": {"h": {"hub": "x/y"}}}, r"models\.h: hub and revision must be given together"),
        (
            {"recipes": {"r": {"micro_batch_size": 3}}},
            r"recipes\.r: global_batch_size 8 is not a multiple of micro_batch_size 3",
        ),
        (
            {"recipes": {"r": {"tokens_per_micro_batch": 512}}},
            r"recipes\.r: has both of micro_batch_size and tokens_per_micro_batch; give exactly one .* null for",
        ),
        (
            {"recipes": {"r": {"micro_batch_size": None}}},
            r"recipes\.r: has neither of micro_batch_size and tokens_per_micro_batch; give exactly one of them",
        ),
        ({"recipes": {"r": {"extends": "r"}}}, r"recipes\.r\.extends: 'r' extends itself"),
        (
            {"recipes": {"r": {"extends": "lnog"}}},
            r"recipes\.r\.extends: 'lnog' is not in the catalogue 'recipes'; did you mean 'long'\?",
        ),
        ({"data": {"d": {"format": "alpacca"}}}, r"data\.d\.format: 'alpacca' is refused"),
        (
            {"protocols": {"p": {"candidates": "texts", "rotations": 2}}},
            r"protocols\.p: rotations is 2, but only letters depend on the order .*; set candidates to letters or",
        ),
        (
            {"protocols": {"p": {"rotations": 2, "pmi": True}}},
            r"protocols\.p: pmi corrects for the letters in one order, .*; remove one of the two keys",
        ),
        ({"protocols": {"p": {"rotations": 11}}}, r"protocols\.p\.rotations: "),
        (
            {"protocols": {"p": {"follow_up": "levels", "rotations": 2}}},
            r"protocols\.p: follow_up is about the option .* not for rotations 2; remove one of the two keys",
        ),
        (
            {"protocols": {"p": {"follow_up": "true_words", "prompt_language": "local"}}},
            r"protocols\.p: follow_up true_words asks in English, .*; set prompt_language to english",
        ),
        (
            {
                "protocols": {"p": {"follow_up": "levels", "pmi": True}},
                "measure": {"normalise": {"letters": "pmi"}},
            },
            r"measure\.normalise\.letters: 'pmi' is known only after all options are scored, .* token or byte",
        ),
        (
            {"protocols": {"p": {"candidates": "true_words", "prompt_language": "local"}}},
            r"protocols\.p: candidates true_words asks in English, .*; set prompt_language to english",
        ),
        (
            {"protocols": {"p": {"candidates": "true_letters", "pmi": True, "rotations": 2}}},
            r"protocols\.p: rotations is 2, but only letters depend on the order of the options",
        ),
        (
            {
                "protocols": {"p": {"candidates": "true_letters"}},
                "embeddings": {"benchmark": "b", "protocol": "p"},
            },
            r"embeddings\.protocol: 'p' asks whether each option is true, .*; give a protocol of letters or texts",
        ),
    ],
)
def test_an_error_names_its_key_and_what_would_be_right(change, sentence):
    with pytest.raises(ConfigError, match=sentence):
        resolve(merge(BASE, change))


PACKAGES = {"packages": ["p==1"], "sha256": ["0" * 64], "file": "p/m.gguf", "licence": "X"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"packages": ["p"]}, r"'p' is not NAME==VERSION, such as"),
        ({"packages": ["p>=1"]}, r"'p>=1' is not NAME==VERSION"),
        ({"packages": ["p==1", "p==1"]}, r"models\.n\.packages: contains 'p==1' twice"),
        ({"packages": []}, r"models\.n\.packages: "),
        ({"packages": ["p==1", "q==1"]}, r"sha256 has 1 items, but packages has 2; give one of each"),
        ({"sha256": ["0" * 63]}, r"sha256 '0+' is no checksum; give the 64 hexadecimal digits that pip hash"),
        ({"sha256": None}, r"models\.n: sha256 is missing; packages need sha256, file and licence"),
        ({"licence": None}, r"models\.n: licence is missing"),
        ({"file": ["p/../../m.gguf"]}, r"'p/\.\./\.\./m\.gguf' is not the path of a file inside the archive"),
        ({"file": "/m.gguf"}, r"'/m\.gguf' is not the path"),
        ({"file": "p/model.bin"}, r"file 'model\.bin' cannot be used; its name must end in \.gguf"),
        ({"file": ["p/m.gguf.part1", "p/m.gguf.part2"], "path": "m"}, r"exactly one of .* path and packages"),
    ],
)
def test_a_source_in_packages_is_checked(change, sentence):
    with pytest.raises(ConfigError, match=sentence):
        resolve(merge(BASE, {"models": {"n": {**PACKAGES, **change}}}))


def test_the_file_of_a_source_in_packages_fits_its_catalogue():
    rows = {**PACKAGES, "file": ["p/rows.json-00000", "p/rows.json-00001"]}
    questions = {**PACKAGES, "file": "p/{language}.jsonl", "format": "file", "languages": ["en"]}
    entries = {
        "models": {"n": PACKAGES},
        "data": {"n": {**rows, "format": "alpaca"}},
        "benchmarks": {"n": questions},
    }
    config = resolve(merge(BASE, {**entries, "grid": {"models": ["n"], "data": ["n"], "benchmarks": ["n"]}}))
    cells = [
        identities.fetch_model(config, "n", "none"),
        identities.fetch_instructions(config, "n"),
        identities.fetch_benchmark(config, "n", "en"),
    ]
    sources = [json.loads(cell)["source"] for cell in cells]
    assert [source["file"] for source in sources] == [["p/m.gguf"], rows["file"], ["p/{language}.jsonl"]]
    assert all(source["licence"] == "X" for source in sources)
    origins = json.loads(identities.report(config, []))["origins"]
    assert all((origin["source"], origin["licence"]) == ("p==1", "X") for origin in origins)
    for catalogue, words in (
        ("data", r"'m\.gguf' cannot be used"),
        ("benchmarks", r"'m\.gguf' cannot be used"),
    ):
        with pytest.raises(ConfigError, match=words):
            resolve(merge(BASE, {catalogue: {"n": {**entries[catalogue]["n"], "file": "p/m.gguf"}}}))
    with pytest.raises(
        ConfigError, match=r"format 'mmlu-prox' is for repositories; with packages, format must be file"
    ):
        resolve(merge(BASE, {"benchmarks": {"n": {**questions, "format": "mmlu-prox"}}}))


WORLD = {"generated": "world", "format": "file", "languages": ["en", "yo"], "licence": "Unicode-3.0"}


def test_a_generated_benchmark_has_the_languages_that_it_is_written_in():
    config = resolve(merge(BASE, {"benchmarks": {"n": WORLD}, "grid": {"benchmarks": ["n"]}}))
    source = json.loads(identities.fetch_benchmark(config, "n", "yo"))["source"]
    assert source == {"generated": "resources/world/world"}
    for change, sentence in (
        (
            {"languages": ["en", "ny"]},
            r"benchmarks\.n: languages: 'ny' is not among the languages of 'world': af, am",
        ),
        ({"format": "mmlu-prox"}, r"format is 'mmlu-prox'; of a generated benchmark it must be file"),
        ({"generated": "word"}, r"benchmarks\.n\.generated: 'word'"),
        (
            {"path": "b"},
            r"needs exactly one of hub, path, miniature, packages, generated \(found path and generated\)",
        ),
    ):
        with pytest.raises(ConfigError, match=sentence):
            resolve(merge(BASE, {"benchmarks": {"n": {**WORLD, **change}}}))
    with pytest.raises(ConfigError, match=r"models\.n\.generated: unknown key"):
        resolve(merge(BASE, {"models": {"n": {"generated": "world"}}}))


def test_the_worlds_entries_name_all_its_languages():
    raw = config_files.read(Path(__file__).parents[3] / "config/config.yaml")
    for name in VARIANTS:
        assert raw["benchmarks"][name]["generated"] == name
        assert raw["benchmarks"][name]["languages"] == LANGUAGES


def test_local_prompts_need_labels_for_every_scored_language():
    local = {"protocols": {"p": {"candidates": "letters", "prompt_language": "local"}}}
    assert resolve(merge(BASE, local)).protocols["p"].prompt_language == "local"
    more = {"benchmarks": {"b": {"languages": ["en", "am"]}}, "languages": {"am": BASE["languages"]["yo"]}}
    with pytest.raises(
        ConfigError, match=r"grid\.protocols: p with prompt_language local: 'am' is not in the labels"
    ):
        resolve(merge(merge(BASE, local), more))


def test_pmi_as_normalisation_needs_protocols_that_record_it():
    change = {"protocols": {"p": {"candidates": "letters"}}, "measure": {"normalise": {"letters": "pmi"}}}
    with pytest.raises(
        ConfigError, match=r"measure\.normalise\.letters: 'pmi' needs pmi: true in protocol 'p'"
    ):
        resolve(merge(BASE, change))
    change["protocols"]["p"]["pmi"] = True
    true = {"protocols": {"true": {"candidates": "true_letters", "pmi": True}}}
    assert resolve(merge(BASE, true)).protocols["true"].pmi
    assert resolve(merge(BASE, change)).measure.normalise.letters == "pmi"


@pytest.mark.parametrize("seed", [42.5, -1, 2**32, "1e10"])
@pytest.mark.parametrize("keys", [("grid", "seeds"), ("grid", "base_seeds"), ("data", "d", "seed")])
def test_a_seed_that_no_random_generator_accepts_is_refused_with_the_range(seed, keys):
    change = seed if keys[-1] == "seed" else [seed]
    for key in reversed(keys):
        change = {key: change}
    with pytest.raises(
        ConfigError, match=rf"{keys[0]}.*{keys[-1]}.*must be a whole number from 0 to 4294967295"
    ):
        resolve(merge(BASE, change))


def test_the_smallest_and_the_largest_seed_are_accepted():
    config = resolve(merge(BASE, {"grid": {"seeds": [0, 2**32 - 1]}, "data": {"d": {"seed": "7.0"}}}))
    assert (config.grid.seeds, config.data["d"].seed) == (["0", "4294967295"], "7")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("models: {007: {path: m}}", "models"),
        ("recipes: {2.50: {extends: r}}", "recipes"),
        ("protocols: {yes: {candidates: letters}}", "protocols"),
        ("data: {2024-01-01: {path: d, format: alpaca}}", "data"),
        ("study: 12", "study"),
        ("grid: {models: [1e3, 1.0e+3]}", "grid"),
        ("data: {d: {language: no}}", "data"),
        ("data: {d: {config: 007}}", "data"),
    ],
)
def test_a_name_that_yaml_does_not_read_as_text_needs_quotes(text, key):
    with pytest.raises(ConfigError, match=rf"(?m)^{key}.*put the (name|text) in quotes\.$"):
        resolve(merge(BASE, yaml.safe_load(text)))


def test_an_empty_name_is_refused():
    with pytest.raises(ConfigError, match="must be a name"):
        resolve(merge(BASE, yaml.safe_load("models: {~: {path: m}}")))


@pytest.mark.parametrize(
    "change",
    [
        {"recipes": {"r": {"chat_template": "chatml"}}},
        {"protocols": {"p": {"chat_template": "chatml"}}},
        {"next_token": {"data": ["d"], "chat_template": "chatml"}},
    ],
)
def test_an_unknown_chat_format_is_refused_with_the_known_ones(change):
    with pytest.raises(
        ConfigError, match=r"chat_template: 'chatml' is refused: is not a known chat format; known: tulu\."
    ):
        resolve(merge(BASE, change))


def test_a_revision_that_is_not_a_commit_is_refused():
    change = {"models": {"h": {"hub": "x/y", "revision": "main"}}}
    with pytest.raises(
        ConfigError, match=r"models\.h: revision 'main' is not a commit and may change; give a commit"
    ):
        resolve(merge(BASE, change))


def test_next_tokens_need_held_out_conversations():
    change = {"data": {"d": {"heldout": 0}}, "next_token": {"data": ["d"]}}
    with pytest.raises(ConfigError, match=r"next_token\.data: data\.d\.heldout is 0"):
        resolve(merge(BASE, change))


@pytest.mark.parametrize("code", ["all", "mean", "unknown"])
def test_a_language_cannot_have_the_name_of_a_summary(code):
    with pytest.raises(ConfigError, match=rf"languages: '{code}' is refused as a language"):
        resolve(merge(BASE, {"languages": {code: BASE["languages"]["en"]}}))


def test_a_model_cannot_have_the_name_of_the_true_distribution():
    with pytest.raises(ConfigError, match="models: 'truth' is refused as a model"):
        resolve(merge(BASE, {"models": {"truth": {"path": "m"}}}))


def test_a_study_cannot_have_the_name_of_an_interim_report():
    with pytest.raises(ConfigError, match="study: 's-partial' is refused: must not end in '-partial'"):
        resolve(merge(BASE, {"study": "s-partial"}))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"benchmarks": {"b": {"limit": True}}},
            r"benchmarks\.b\.limit: True is refused: YAML reads .*a number",
        ),
        ({"measure": {"bins": True}}, r"measure\.bins: True is refused: YAML reads"),
        ({"measure": {"sensitivity": {"bins": [True, 15]}}}, r"measure\.sensitivity\.bins: YAML reads"),
        ({"models": {"m": {"zero_stage": False}}}, r"models\.m\.zero_stage: False is refused: YAML reads"),
        ({"recipes": {"r": {"global_batch_size": True}}}, r"recipes\.r\.global_batch_size: True is refused"),
        (
            {"planning": {"gpu_tflops": float("inf")}},
            r"planning\.gpu_tflops: inf is refused: .*finite number",
        ),
        ({"measure": {"sensitivity": {"bins": [10, 10]}}}, r"sensitivity\.bins: contains '10' twice"),
        (
            {"measure": {"sensitivity": {"bins": [10**9]}}},
            r"sensitivity\.bins\[0\]: .* less than or equal to 1000",
        ),
        ({"models": {"m": {"path": ""}}}, r"models\.m\.path: '' is refused"),
        ({"models": {"m": {"licence": "\ud800"}}}, r"models\.m\.licence: .* contains half a surrogate pair"),
        (
            {"languages": {"en": {"name": ""}}},
            r"languages\.en\.name: '' is refused: must be one line of visible text",
        ),
        (
            {"languages": {"en": {"name": "a\nb"}}},
            r"languages\.en\.name: .* must be one line of visible text",
        ),
        (
            {"languages": {"en": {"name": "\u200b"}}},
            r"languages\.en\.name: .* must be one line of visible text",
        ),
        ({"grid": {"languages": []}}, r"grid\.languages: .* at least 1 item"),
        (
            {"grid": {"extra": [{}, {"seeds": [-1]}]}},
            r"grid\.extra\[1\]\.seeds\[0\]: -1 is refused: must be a whole",
        ),
        (
            {"grid": {"extra": [{"betaz": [0]}]}},
            r"grid\.extra\[0\]\.betaz: unknown key; did you mean 'betas'\?",
        ),
    ],
)
def test_values_that_are_not_what_they_seem_are_refused(change, sentence):
    with pytest.raises(ConfigError, match=sentence):
        resolve(merge(BASE, change))


@pytest.mark.parametrize("tag", ["", "unk", "mul", "zzz", "no language"])
def test_a_declared_language_is_one_language(tag):
    with pytest.raises(
        ConfigError, match=rf"data\.d\.language: '{tag}' is refused: is not the tag of one language"
    ):
        resolve(merge(BASE, {"data": {"d": {"language": tag}}}))


@pytest.mark.parametrize("tag", ["en", "eng_Latn", "English", "pt-BR"])
def test_a_declared_language_may_have_any_spelling(tag):
    assert resolve(merge(BASE, {"data": {"d": {"language": tag}}})).data["d"].language == tag


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"languages": ["en", "fr"]}, "languages is for a balanced mixture"),
        ({"languages": ["en"], "language_mixture": "natural"}, "languages is for a balanced mixture"),
        (
            {"languages": ["en", "eng"], "language_mixture": "balanced"},
            "'en' is the same language as another item",
        ),
        (
            {"language": "fra", "language_mixture": "english_only"},
            "english_only selects nothing from a set whose lang",
        ),
    ],
)
def test_mixtures_that_cannot_be_made_are_refused(keys, sentence):
    with pytest.raises(ConfigError, match=rf"^data\.d: .*{sentence}"):
        resolve(merge(BASE, {"data": {"d": keys}}))


@pytest.mark.parametrize("catalogue", ["models", "data", "benchmarks", "languages", "recipes", "protocols"])
def test_names_that_differ_only_in_capitals_are_refused(catalogue):
    name, entry = next(iter(BASE[catalogue].items()))
    with pytest.raises(
        ConfigError, match=rf"{catalogue}: '{name}' and '{name.upper()}' differ only in capitals"
    ):
        resolve(merge(BASE, {catalogue: {name.upper(): entry}}))
