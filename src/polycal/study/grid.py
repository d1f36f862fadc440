"""What a configuration asks for: its grid as plain blocks, the cells in them, and the files of these cells.

A block is plain JSON, so that the cell of a stage that reads many records can contain it. A list of the
records themselves would be too long for a command line: the paper's grid has more than 2,000.
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
"""Data, recipe, β and seed of a base model."""


class GridBlock(TypedDict):
    """Lists whose combinations run; base seeds for each model, languages for each benchmark."""

    models: dict[str, list[str]]
    data: list[str]
    recipes: list[str]
    betas: list[str]
    seeds: list[str]
    benchmarks: dict[str, list[str]]
    protocols: list[str]


@dataclass(frozen=True, order=True)
class Cell:
    """What names one score record: a checkpoint, and how and in which language it is asked."""

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
        """The part of the names that says which checkpoint is asked."""
        return {key: getattr(self, key) for key in CHECKPOINT_KEYS}


def blocks(config: Config) -> list[GridBlock]:
    """The grid of a study as plain blocks."""
    return [_plain(config, block) for block in config.grid.blocks()]


def _plain(config: Config, block: Block) -> GridBlock:
    return {
        "models": {name: base_seeds(config, name, block) for name in block.models},
        "data": list(block.data),
        "recipes": list(block.recipes),
        "betas": list(block.betas),
        "seeds": list(block.seeds),
        "benchmarks": {
            name: [
                code
                for code in config.benchmarks[name].languages
                if block.languages is None or code in block.languages
            ]
            for name in block.benchmarks
        },
        "protocols": list(block.protocols),
    }


def base_seeds(config: Config, model: str, block: Block) -> list[str]:
    """The seeds with which a base model is built; ``none`` for a model that is not of the miniature."""
    return list(block.base_seeds) if config.models[model].miniature else [NONE]


def cells(grid: Sequence[GridBlock]) -> list[Cell]:
    """Every cell of the blocks, without duplicates, sorted; each model also without tuning."""
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
    """The names of every checkpoint of the blocks, sorted; with ``tuned`` without the base models."""
    names = sorted({tuple(cell.checkpoint.values()) for cell in cells(grid)})
    found = [dict(zip(CHECKPOINT_KEYS, values, strict=True)) for values in names]
    return [checkpoint for checkpoint in found if not tuned or checkpoint["data"] != NONE]


def base_models(grid: Sequence[GridBlock]) -> list[tuple[str, str]]:
    """(model, base seed) of every base model of the blocks, sorted."""
    return sorted(
        {(model, seed) for block in grid for model, seeds in block["models"].items() for seed in seeds}
    )


def score_records(cell: Mapping[str, Any]) -> list[Path]:
    """The score records of ``cell["grid"]``, sorted by cell."""
    return [Path(paths.SCORES.format(**asdict(scored))) for scored in cells(cell["grid"])]


def embedding_records(cell: Mapping[str, Any]) -> list[Path]:
    """The embedding records of ``cell["grid"]``.

    ``cell["embeddings"]`` gives benchmark, protocol and pooling; None if the study computes no embeddings.
    """
    chosen = cell["embeddings"]
    if chosen is None:
        return []
    pair = (chosen["benchmark"], chosen["protocol"])
    embedded = [scored for scored in cells(cell["grid"]) if (scored.benchmark, scored.protocol) == pair]
    return [Path(paths.EMBEDDINGS.format(**asdict(one), pooling=chosen["pooling"])) for one in embedded]


def next_token_records(cell: Mapping[str, Any]) -> list[Path]:
    """The next-token records of the checkpoints of ``cell["grid"]`` on the data sets ``cell["heldout"]``."""
    return [
        Path(paths.NEXT_TOKEN.format(**checkpoint, heldout=name))
        for checkpoint in checkpoints(cell["grid"])
        for name in cell["heldout"]
    ]


def conversation_records(cell: Mapping[str, Any]) -> list[Path]:
    """The conversations of every instruction set of ``cell["grid"]``."""
    names = sorted({name for block in cell["grid"] for name in block["data"]})
    return [Path(paths.INSTRUCTIONS.format(data=name)) for name in names]


def finetuned(config: Config) -> list[str]:
    """The manifest of every fine-tuned checkpoint (one per learning rate), and every selection among them."""
    manifests: list[str] = []
    for names in checkpoints(blocks(config), tuned=True):
        manifests += candidates(config, **names)
        if len(config.recipes[names["recipe"]].learning_rates) > 1:
            manifests.append(paths.SELECTED.format(**names))
    return manifests


def candidates(config: Config, **names: str) -> list[str]:
    """The manifests among which a learning rate is selected, one per learning rate of the recipe."""
    rates = config.recipes[names["recipe"]].learning_rates
    return [paths.FINETUNED.format(**names, lr=rate) for rate in rates]


def checkpoint(config: Config, **names: str) -> str:
    """The file that says which weights are scored: a manifest, or a selection among learning rates."""
    if names["data"] == NONE:
        return paths.MODEL.format(**names)
    rates = config.recipes[names["recipe"]].learning_rates
    return (paths.SELECTED if len(rates) > 1 else paths.FINETUNED).format(**names, lr=rates[0])


def batches(config: Config) -> list[tuple[str, int, list[str]]]:
    """(benchmark, number, languages) of the scoring jobs, with up to ``languages_per_job`` languages each."""
    scored = {(cell.benchmark, cell.language) for cell in cells(blocks(config))}
    size, found = config.languages_per_job, []
    for benchmark in sorted({name for name, _ in scored}):
        codes = [code for code in config.benchmarks[benchmark].languages if (benchmark, code) in scored]
        starts = range(0, len(codes), size)
        found += [(benchmark, number, codes[start : start + size]) for number, start in enumerate(starts)]
    return found


def scored_languages(config: Config) -> dict[str, list[str]]:
    """The languages in which the grid scores each benchmark, in the benchmark's order."""
    found: dict[str, list[str]] = {}
    for benchmark, _, languages in batches(config):
        found.setdefault(benchmark, []).extend(languages)
    return found


def embedded_languages(config: Config) -> list[str]:
    """The languages in which prompts are embedded; none if the study computes no embeddings."""
    return scored_languages(config)[config.embeddings.benchmark] if config.embeddings else []


def heldout_data(config: Config) -> list[str]:
    """The data sets whose held-out conversations are scored; none if the study scores no next tokens."""
    return config.next_token.data if config.next_token else []
