"""The grid of a configuration: its blocks as plain JSON, their cells, and the files of these cells.

A stage that reads many records has the blocks in its cell. A list of the records would be too long for a
command line: the paper's grid has more than 2,000 of them.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

from polycal.study import paths
from polycal.study.config import Block, Config
from polycal.vocabulary import CHECKPOINT_KEYS, NONE

NO_TUNING = (NONE, NONE, NONE, NONE)
"""Data, recipe, β and seed of a base model, which has none of them."""


class GridBlock(TypedDict):
    """Lists whose combinations run. Each model has its base seeds, and each benchmark its languages."""

    models: dict[str, list[str]]
    data: list[str]
    recipes: list[str]
    betas: list[str]
    seeds: list[str]
    benchmarks: dict[str, list[str]]
    protocols: list[str]


@dataclass(frozen=True, order=True)
class Cell:
    """The names of one score record: a checkpoint, and a benchmark, protocol and language."""

    model: str
    base_seed: str
    data: str
    recipe: str
    beta: str
    seed: str
    benchmark: str
    protocol: str
    language: str

    @property
    def checkpoint(self) -> dict[str, str]:
        """The names of the checkpoint, by key."""
        return {key: getattr(self, key) for key in CHECKPOINT_KEYS}


def blocks(config: Config) -> list[GridBlock]:
    """The blocks of a study's grid as plain JSON."""
    return [_plain(config, block) for block in config.grid.blocks()]


def _plain(config: Config, block: Block) -> GridBlock:
    return {
        "models": {name: base_seeds(config, name, block) for name in block.models},
        "data": list(block.data),
        "recipes": list(block.recipes),
        "betas": list(block.betas),
        "seeds": list(block.seeds),
        "benchmarks": {
            name: config.benchmarks[name].languages_among(block.languages) for name in block.benchmarks
        },
        "protocols": list(block.protocols),
    }


def base_seeds(config: Config, model: str, block: Block) -> list[str]:
    """The seeds with which a base model of the miniature is built; ``none`` for any other model."""
    return list(block.base_seeds) if config.models[model].miniature else [NONE]


def cells(grid: Sequence[GridBlock]) -> list[Cell]:
    """Every cell of the blocks, sorted and without duplicates. Each model is also scored without tuning."""
    return sorted({cell for block in grid for cell in _cells_of(block)})


def _cells_of(block: GridBlock) -> Iterator[Cell]:
    tuned = itertools.product(block["data"], block["recipes"], block["betas"], block["seeds"])
    tunings: list[tuple[str, str, str, str]] = [NO_TUNING, *tuned]
    for model, seeds in block["models"].items():
        for base_seed, tuning, protocol in itertools.product(seeds, tunings, block["protocols"]):
            for benchmark, languages in block["benchmarks"].items():
                for language in languages:
                    yield Cell(model, base_seed, *tuning, benchmark, protocol, language)


def checkpoints(grid: Sequence[GridBlock], tuned: bool = False) -> list[dict[str, str]]:
    """The names of every checkpoint of the blocks, sorted. With ``tuned``, base models are left out."""
    names = sorted({tuple(cell.checkpoint.values()) for cell in cells(grid)})
    by_key = [dict(zip(CHECKPOINT_KEYS, values, strict=True)) for values in names]
    return [checkpoint for checkpoint in by_key if not tuned or checkpoint["data"] != NONE]


def base_models(grid: Sequence[GridBlock]) -> list[tuple[str, str]]:
    """(model, base seed) of every base model of the blocks, sorted."""
    return sorted(
        {(model, seed) for block in grid for model, seeds in block["models"].items() for seed in seeds}
    )


def score_records(cell: Mapping[str, Any]) -> list[Path]:
    """The score records of ``cell["grid"]``, sorted by cell."""
    return [Path(paths.SCORES.format(**asdict(scored))) for scored in cells(cell["grid"])]


def grouped_records(cell: Mapping[str, Any]) -> list[Path]:
    """The score records of ``cell["grid"]`` that are measured by group: all, or none without ``by_group``."""
    return score_records(cell) if cell["by_group"] else []


def embedding_records(cell: Mapping[str, Any]) -> list[Path]:
    """The embedding records of ``cell["grid"]``.

    ``cell["embeddings"]`` has benchmark, protocol and pooling. It is None if the study computes no embeddings.
    """
    chosen = cell["embeddings"]
    if chosen is None:
        return []
    pair = (chosen["benchmark"], chosen["protocol"])
    embedded = [names for names in cells(cell["grid"]) if (names.benchmark, names.protocol) == pair]
    return [Path(paths.EMBEDDINGS.format(**asdict(scored), pooling=chosen["pooling"])) for scored in embedded]


def next_token_records(cell: Mapping[str, Any]) -> list[Path]:
    """The next-token records of the checkpoints of ``cell["grid"]`` on the data sets ``cell["heldout"]``."""
    return [
        Path(paths.NEXT_TOKEN.format(**checkpoint, heldout=name))
        for checkpoint in checkpoints(cell["grid"])
        for name in cell["heldout"]
    ]


def generation_records(cell: Mapping[str, Any]) -> list[Path]:
    """The records of answers that the checkpoints of ``cell["grid"]`` generate to ``cell["generated"]``.

    ``cell["generated"]`` maps benchmarks without options to languages.
    """
    return [Path(paths.GENERATIONS.format(**names)) for names in _answered(cell)]


def cluster_records(cell: Mapping[str, Any]) -> list[Path]:
    """The records of the clusters of these answers by the model ``cell["entailment"]``; none without this key."""
    if "entailment" not in cell:
        return []
    return [Path(paths.CLUSTERS.format(**names, entailment=cell["entailment"])) for names in _answered(cell)]


def _answered(cell: Mapping[str, Any]) -> list[dict[str, str]]:
    """The names of each record of generated answers."""
    return [
        {**checkpoint, "benchmark": name, "language": code}
        for checkpoint in checkpoints(cell["grid"])
        for name, languages in cell["generated"].items()
        for code in languages
    ]


def conversation_records(cell: Mapping[str, Any]) -> list[Path]:
    """The record of conversations of every instruction set of ``cell["grid"]``."""
    names = sorted({name for block in cell["grid"] for name in block["data"]})
    return [Path(paths.INSTRUCTIONS.format(data=name)) for name in names]


def finetuned(config: Config) -> list[str]:
    """The manifest of every fine-tuned checkpoint (one per learning rate), and every selection of a rate."""
    manifests: list[str] = []
    for names in checkpoints(blocks(config), tuned=True):
        manifests += candidates(config, **names)
        if len(config.recipes[names["recipe"]].learning_rates) > 1:
            manifests.append(paths.SELECTED.format(**names))
    return manifests


def candidates(config: Config, **names: str) -> list[str]:
    """The manifests of one checkpoint, one for each learning rate of its recipe."""
    rates = config.recipes[names["recipe"]].learning_rates
    return [paths.FINETUNED.format(**names, lr=rate) for rate in rates]


def checkpoint(config: Config, **names: str) -> str:
    """The file that names the weights to be scored: a manifest, or the selection of a learning rate."""
    if names["data"] == NONE:
        return paths.MODEL.format(**names)
    rates = config.recipes[names["recipe"]].learning_rates
    return (paths.SELECTED if len(rates) > 1 else paths.FINETUNED).format(**names, lr=rates[0])


def questions(config: Config, benchmark: str) -> int | None:
    """The number of questions per language of a benchmark; None if the configuration does not say it."""
    entry = config.benchmarks[benchmark]
    known = [entry.limit, entry.planning.questions]
    known += [config.miniature.questions] if config.miniature and entry.miniature else []
    return min(filter(None, known), default=None)


def batches(config: Config) -> list[tuple[str, int, list[str]]]:
    """(benchmark, number, languages) of each scoring job, with at most ``languages_per_job`` languages."""
    return _batches(scored_languages(config), config.languages_per_job)


def generation_batches(config: Config) -> list[tuple[str, int, list[str]]]:
    """(benchmark, number, languages) of each job that generates, with at most ``languages_per_job`` languages."""
    return _batches(generated_languages(config), config.languages_per_job)


def _batches(languages_of: Mapping[str, list[str]], size: int) -> list[tuple[str, int, list[str]]]:
    return [
        (benchmark, number, languages[start : start + size])
        for benchmark, languages in languages_of.items()
        for number, start in enumerate(range(0, len(languages), size))
    ]


def scored_languages(config: Config) -> dict[str, list[str]]:
    """The languages in which the grid scores each benchmark, in the benchmark's order."""
    scored = {(cell.benchmark, cell.language) for cell in cells(blocks(config))}
    return {
        benchmark: [code for code in config.benchmarks[benchmark].languages if (benchmark, code) in scored]
        for benchmark in sorted({name for name, _ in scored})
    }


def generated_languages(config: Config) -> dict[str, list[str]]:
    """The languages in which answers to each benchmark without options are generated; none if the study has none."""
    chosen = config.generation
    if chosen is None:
        return {}
    return {name: config.benchmarks[name].languages_among(chosen.languages) for name in chosen.benchmarks}


def entailment_model(config: Config) -> str | None:
    """The model that clusters generated answers by meaning; None if the study has none."""
    return config.generation.entailment if config.generation else None


def models(config: Config) -> set[str]:
    """The models of the grid, and the entailment model if there is one."""
    named = {name for block in blocks(config) for name in block["models"]}
    entailment = entailment_model(config)
    return named if entailment is None else named | {entailment}


def asked_languages(config: Config) -> dict[str, list[str]]:
    """The languages of every benchmark that is scored or answered without options."""
    return {**scored_languages(config), **generated_languages(config)}


def parallel_checks(languages_of: Mapping[str, Sequence[str]]) -> list[str]:
    """The checks that benchmarks have the same questions in all languages; one language has nothing to compare."""
    return [
        paths.PARALLEL.format(benchmark=name)
        for name, languages in languages_of.items()
        if len(languages) > 1
    ]


def embedded_languages(config: Config) -> list[str]:
    """The languages in which prompts are embedded; none if the study computes no embeddings."""
    return scored_languages(config)[config.embeddings.benchmark] if config.embeddings else []


def heldout_data(config: Config) -> list[str]:
    """The data sets whose held-out conversations are scored; none if the study scores no next tokens."""
    return config.next_token.data if config.next_token else []
