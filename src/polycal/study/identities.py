"""The cell of each result: for each stage a function of its name that returns the cell as canonical JSON.

The fingerprint of a result includes its cell. A cell therefore contains every setting that can change the
result. It leaves out how jobs run (processes, ZeRO stage, time limits) and the assumptions of the cost estimate.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from polycal.artifacts.files import canonical_json
from polycal.scoring import prompts
from polycal.study import grid, paths
from polycal.study.config import Config
from polycal.study.config_sources import Source
from polycal.vocabulary import CHECKPOINT_KEYS, NONE

LATER_KEYS = {"rotations": 1, "follow_up": None}
"""Keys of a protocol that an earlier version did not have, with their defaults.

A cell has such a key only if its value differs from the default, so that cells that do not use it stay the same.
"""
ONLY_SCORED = ("pmi", "rotations", "follow_up")
"""Keys of a protocol on which embeddings do not depend."""


def miniature_data(config: Config) -> str:
    """The instruction sets and benchmarks of the miniature."""
    assert config.miniature is not None
    settings = config.miniature.model_dump(include={"seed", "languages", "questions", "rows"})
    return canonical_json({"stage": "miniature_data", "settings": settings})


def miniature_model(config: Config, architecture: str, base_seed: str) -> str:
    """A base model of the miniature."""
    assert config.miniature is not None
    settings = config.miniature.model_dump()
    names = {"model": architecture, "base_seed": base_seed}
    return canonical_json({"stage": "miniature_model", **names, "settings": settings})


def world_benchmark(_config: Config) -> str:
    """The questions of the benchmark world, on which no key of a configuration has an effect."""
    return canonical_json({"stage": "world_benchmark"})


def fetch_model(config: Config, model: str, base_seed: str) -> str:
    """The manifest of a base model."""
    entry = config.models[model]
    built = paths.MINIATURE_MODEL.format(architecture=entry.miniature, base_seed=base_seed)
    source = _source(entry, str(PurePosixPath(built).parent))
    return canonical_json({"stage": "fetch_model", "model": model, "base_seed": base_seed, "source": source})


def fetch_instructions(config: Config, data: str) -> str:
    """The record of conversations of an instruction set."""
    entry = config.data[data]
    keys = {
        "format",
        "language",
        "rows",
        "heldout",
        "seed",
        "language_mixture",
        "languages",
        "sources",
        "config",
    }
    source = _source(entry, paths.MINIATURE_INSTRUCTIONS.format(data=entry.miniature))
    settings = entry.model_dump(include=keys)
    return canonical_json(
        {"stage": "fetch_instructions", "data": data, "source": source, "settings": settings}
    )


def fetch_benchmark(config: Config, benchmark: str, language: str) -> str:
    """The questions of a benchmark in one language."""
    entry = config.benchmarks[benchmark]
    names = {"stage": "fetch_benchmark", "benchmark": benchmark, "language": language}
    if entry.generated is not None:
        source = {"generated": paths.WORLD_QUESTIONS.format(variant=entry.generated)}
    else:
        source = _source(entry, paths.MINIATURE_BENCHMARK.format(benchmark=entry.miniature))
    settings = {"format": entry.format, "limit": entry.limit}
    return canonical_json({**names, "source": source, "settings": settings})


def _source(entry: Source, miniature: str) -> dict[str, Any]:
    """The source of an entry. ``miniature`` is its folder, if it is from the miniature hub."""
    if entry.miniature is not None:
        return {"miniature": miniature}
    if entry.packages is not None:
        keys = ("packages", "sha256", "licence")
        return {**{key: getattr(entry, key) for key in keys}, "file": entry.parts}
    keys = ("hub", "revision", "path")
    return {key: getattr(entry, key) for key in keys if getattr(entry, key) is not None}


def check_parallel(config: Config, benchmark: str) -> str:
    """The check that all languages of a benchmark have the same questions."""
    languages = grid.asked_languages(config)[benchmark]
    return canonical_json({"stage": "check_parallel", "benchmark": benchmark, "languages": languages})


def finetune(config: Config, **names: str) -> str:
    """A fine-tuned checkpoint. ``names`` has CHECKPOINT_KEYS and ``lr``."""
    settings = config.recipes[names["recipe"]].model_dump(exclude={"learning_rates"}, exclude_none=True)
    settings["attention"] = config.models[names["model"]].attention
    return canonical_json({"stage": "finetune", **_pick(names, "lr"), "settings": settings})


def select_lr(config: Config, **names: str) -> str:
    """The selection of one of a recipe's learning rates. ``names`` has CHECKPOINT_KEYS."""
    rates = config.recipes[names["recipe"]].learning_rates
    return canonical_json({"stage": "select_lr", **_pick(names), "learning_rates": rates})


def score(config: Config, languages: Sequence[str], **names: str) -> str:
    """The records of one scoring job: a JSON list with one cell per language.

    ``names`` has CHECKPOINT_KEYS, ``benchmark`` and ``protocol``.
    """
    model = config.models[names["model"]]
    settings = {
        **_protocol(config, names),
        "dtype": model.dtype,
        "attention": model.attention,
        "prompts": prompts.VERSION,
    }
    if "follow_up" in settings:
        # The follow-up is about the option that is chosen under this normalisation.
        settings["normalise"] = getattr(config.measure.normalise, settings["candidates"])
    cell = {"stage": "score", **_pick(names, "benchmark", "protocol"), "settings": settings}
    return canonical_json([{**cell, "language": language} for language in languages])


def embed(config: Config, **names: str) -> str:
    """The prompt embeddings of one checkpoint: a JSON list with one cell per language.

    ``names`` has CHECKPOINT_KEYS, ``benchmark``, ``protocol`` and ``pooling``.
    """
    assert config.embeddings is not None
    model = config.models[names["model"]]
    settings = {
        **{key: value for key, value in _protocol(config, names).items() if key not in ONLY_SCORED},
        "pooling": names["pooling"],
        "questions": config.embeddings.questions,
        "dtype": model.dtype,
        "attention": model.attention,
    }
    cell = {"stage": "embed", **_pick(names, "benchmark", "protocol"), "settings": settings}
    return canonical_json([{**cell, "language": language} for language in grid.embedded_languages(config)])


def score_next_token(config: Config, **names: str) -> str:
    """A next-token record. ``names`` has CHECKPOINT_KEYS and ``heldout``, the name of a data set."""
    assert config.next_token is not None
    model = config.models[names["model"]]
    settings = {
        **config.next_token.model_dump(exclude={"data"}),
        "dtype": model.dtype,
        "attention": model.attention,
    }
    return canonical_json({"stage": "score_next_token", **_pick(names, "heldout"), "settings": settings})


def generate(config: Config, languages: Sequence[str], **names: str) -> str:
    """The answers that one job generates: a JSON list with one cell per language.

    ``names`` has CHECKPOINT_KEYS and ``benchmark``.
    """
    assert config.generation is not None
    model = config.models[names["model"]]
    settings = {
        **config.generation.model_dump(exclude={"benchmarks", "languages", "entailment"}),
        "dtype": model.dtype,
        "attention": model.attention,
        "prompts": prompts.VERSION,
    }
    # Base models get plain text, because they have not seen a chat format.
    settings |= {"chat_template": None} if names["data"] == NONE else {}
    cell = {"stage": "generate", **_pick(names, "benchmark"), "settings": settings}
    return canonical_json([{**cell, "language": language} for language in languages])


def cluster(config: Config, languages: Sequence[str], **names: str) -> str:
    """The clusters of the answers that one job generates: a JSON list with one cell per language.

    ``names`` has CHECKPOINT_KEYS and ``benchmark``.
    """
    entailment = grid.entailment_model(config)
    assert entailment is not None
    model = config.models[entailment]
    settings = {"dtype": model.dtype, "attention": model.attention}
    cell = {
        "stage": "cluster",
        **_pick(names, "benchmark"),
        "entailment": entailment,
        "settings": settings,
    }
    return canonical_json([{**cell, "language": language} for language in languages])


def _pick(names: Mapping[str, str], *more_keys: str) -> dict[str, str]:
    """``names`` with CHECKPOINT_KEYS and ``more_keys`` only."""
    return {key: names[key] for key in (*CHECKPOINT_KEYS, *more_keys)}


def _protocol(config: Config, names: Mapping[str, str]) -> dict[str, Any]:
    """The settings of a protocol. Base models get plain text, because they have not seen a chat format."""
    settings = config.protocols[names["protocol"]].model_dump()
    for key, default in LATER_KEYS.items():
        if settings[key] == default:
            del settings[key]
    return {**settings, "chat_template": None} if names["data"] == NONE else settings


def measure(config: Config) -> str:
    """The tables of metrics: conventions, resource levels, the grid, and the true distributions of a miniature."""
    levels = {code: language.resource for code, language in sorted(config.languages.items())}
    settings = {**config.measure.model_dump(), "resource": levels}
    benchmarks = sorted({name for block in grid.blocks(config) for name in block["benchmarks"]})
    miniature = {name: config.benchmarks[name].miniature for name in benchmarks}
    truth = {
        name: paths.MINIATURE_TRUTH.format(benchmark=source) for name, source in miniature.items() if source
    }
    settings |= {"truth": truth} if truth else {}
    return canonical_json({"stage": "measure", "settings": settings, "grid": grid.blocks(config)})


def truth_manifests(config: Config) -> list[str]:
    """The manifest of the true distributions, if the study scores a benchmark of the miniature."""
    return [paths.MINIATURE_DATA] if "truth" in json.loads(measure(config))["settings"] else []


def measure_groups(config: Config) -> str:
    """The table of metrics by group of questions."""
    settings = config.measure.model_dump(exclude={"sensitivity"})
    inputs = {"grid": grid.blocks(config), "by_group": config.by_group}
    return canonical_json({"stage": "measure_groups", "settings": settings, **inputs})


def measure_embeddings(config: Config) -> str:
    """The tables of embedding diversity and its correlation with ECE."""
    settings = config.measure.model_dump(include={"bootstrap_samples", "seed"})
    chosen = config.embeddings.model_dump(exclude={"questions"}) if config.embeddings else None
    inputs = {"grid": grid.blocks(config), "embeddings": chosen}
    return canonical_json({"stage": "measure_embeddings", "settings": settings, **inputs})


def measure_next_token(config: Config) -> str:
    """The tables of next-token calibration."""
    settings = config.measure.model_dump(include={"bins", "binning", "bootstrap_samples", "seed"})
    inputs = {"grid": grid.blocks(config), "heldout": grid.heldout_data(config)}
    return canonical_json({"stage": "measure_next_token", "settings": settings, **inputs})


def measure_generation(config: Config) -> str:
    """The tables of generated answers."""
    keys = {"bins", "binning", "bootstrap_samples", "seed"}
    levels = {code: language.resource for code, language in sorted(config.languages.items())}
    settings = {**config.measure.model_dump(include=keys), "resource": levels}
    inputs: dict[str, Any] = {"grid": grid.blocks(config), "generated": grid.generated_languages(config)}
    if (entailment := grid.entailment_model(config)) is not None:
        inputs["entailment"] = entailment
    return canonical_json({"stage": "measure_generation", "settings": settings, **inputs})


def report(config: Config, acceptances: Sequence[str]) -> str:
    """The tables, figures and page of a report. The report lists ``acceptances``, the active ones."""
    cell: dict[str, Any] = {
        "stage": "report",
        "grid": grid.blocks(config),
        "languages": {code: language.name for code, language in sorted(config.languages.items())},
        "measure": config.measure.model_dump(),
        "origins": _origins(config),
        "acceptances": list(acceptances),
    }
    if config.reliability_languages:
        cell["reliability_languages"] = config.reliability_languages
    return canonical_json(cell)


def _origins(config: Config) -> list[dict[str, str]]:
    """The source and licence of each model, instruction set and benchmark of the grid."""
    origins, blocks = [], grid.blocks(config)
    used = {
        "models": grid.models(config),
        "data": {name for block in blocks for name in block["data"]},
        "benchmarks": {
            *(name for block in blocks for name in block["benchmarks"]),
            *grid.generated_languages(config),
        },
    }
    for kind, names in used.items():
        for name in sorted(names):
            entry = getattr(config, kind)[name]
            source = _source_in_words(entry)
            details = {"source": source, "revision": entry.revision or "", "licence": entry.licence or ""}
            origins.append({"kind": kind, "name": name, **details})
    return origins


def _source_in_words(entry: Source) -> str:
    """The source of an entry, as the report shows it."""
    if entry.packages is not None:
        return ", ".join(entry.packages)
    generated = getattr(entry, "generated", None)
    return (
        entry.hub or entry.path or (f"generated {generated}" if generated else f"miniature {entry.miniature}")
    )
