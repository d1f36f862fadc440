"""What a study may ask of generated answers, and what is refused before any job is planned."""

from pathlib import Path

import pytest
import yaml

from polycal.study import grid
from polycal.study.config_loading import ConfigError, merge, resolve

CONFIG = Path(__file__).parents[3] / "config"
RAW: dict = {}
for name in ("languages", "config", "experiments/generation"):
    RAW = merge(RAW, yaml.safe_load((CONFIG / f"{name}.yaml").read_text()))


def test_every_checkpoint_answers_in_every_language_of_its_batches():
    config = resolve(merge(RAW, {"languages_per_job": 20, "generation": {"languages": ["en", "yo", "sw"]}}))
    assert grid.generation_batches(config) == [("world-open", 0, ["en", "sw", "yo"])]
    cell = {"grid": grid.blocks(config), "generated": grid.generated_languages(config)}
    records = grid.generation_records(cell)
    assert len(records) == len(set(records)) == 9 * 3
    assert grid.cluster_records(cell) == []
    clusters = grid.cluster_records({**cell, "entailment": "nli"})
    assert [path.parts[-1] for path in clusters] == ["clusters.parquet"] * len(records)
    assert [str(path).replace("generations", "clusters") for path in records] == [
        str(path).replace("/entailment=nli", "") for path in clusters
    ]
    assert "world-open" in grid.asked_languages(config)
    assert "world-open" not in grid.scored_languages(config)


def test_a_miniature_answers_only_in_its_languages():
    raw = RAW
    for name in ("mini", "experiments/mini/generation"):
        raw = merge(raw, yaml.safe_load((CONFIG / f"{name}.yaml").read_text()))
    more = merge(raw, {"benchmarks": {"mkqa-mini": {"languages": ["en", "ky"]}}})
    with pytest.raises(
        ConfigError, match=r"^benchmarks\.mkqa-mini.languages: 'ky' is not in miniature\.languages"
    ):
        resolve(more)
    resolve(merge(more, {"generation": {"languages": ["en"]}}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"grid": {"benchmarks": ["world-open"]}}, r"^grid.benchmarks: 'world-open' has no options to score"),
        (
            {"generation": {"benchmarks": ["global-mmlu"]}},
            "^generation.benchmarks: 'global-mmlu' has options",
        ),
        (
            {"generation": {"benchmarks": ["wrold-open"]}},
            "^generation.benchmarks: 'wrold-open' .*'world-open'",
        ),
        ({"generation": {"languages": ["xx"]}}, "^generation.languages: 'xx' is not in the languages of"),
        ({"generation": {"chat_template": "chatml"}}, "is not a known chat format; known: tulu"),
        ({"generation": {"prompt_language": "local"}}, "^generation.prompt_language local: 'am' is not in"),
        ({"generation": {"top_p": 0}}, r"generation.top_p: 0 is refused: must lie in \[1e-6, 1\]"),
        (
            {"generation": {"entailment": "mistral-7"}},
            "^generation.entailment: 'mistral-7' .*'mistral-7b'",
        ),
        (
            {
                "models": {"mini": {"miniature": "llama"}},
                "generation": {"entailment": "mini"},
                "miniature": {"languages": ["en"]},
            },
            "^generation.entailment: 'mini' is a language model, because its source is the miniature or a GGUF file",
        ),
        (
            {"models": {"nli": {"path": "nli"}}, "generation": {"entailment": "nli"}},
            "^models.nli.path: 'nli' is refused: there is no such folder",
        ),
        ({"generation": {"samples": 1}}, "greater than or equal to 2"),
        ({"benchmarks": {"world-open": {"format": "file"}}}, "of a generated benchmark it must be open"),
        (
            {"generation": {"benchmarks": ["mkqa"]}},
            r"^benchmarks.mkqa.path: 'mkqa.jsonl' is refused: there is no",
        ),
    ],
)
def test_what_cannot_be_generated_is_one_sentence(change, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=words) as refused:
        resolve(merge(RAW, change), local_files=True)
    assert "\n" not in str(refused.value)
