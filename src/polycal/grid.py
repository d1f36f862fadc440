"""Cells and paths: what a configuration asks for, and where it lies. No other module spells a path."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from polycal import prompts
from polycal.config import Config
from polycal.kept import canonical

NONE = "none"
CHECKPOINT = "model={model}/data={data}/recipe={recipe}/beta={beta}/seed={seed}"
MODEL = "resources/models/{model}/manifest.json"
QUESTIONS = "resources/benchmarks/{benchmark}/{language}.parquet"
SCORES = f"results/scores/{CHECKPOINT}/benchmark={{benchmark}}/protocol={{protocol}}/language={{language}}/scores.parquet"
STUDY = "results/studies/{study}"


@dataclass(frozen=True, order=True)
class Cell:
    """One score record: a checkpoint, and how and in which language it is asked."""

    model: str
    data: str
    recipe: str
    beta: str
    seed: str
    benchmark: str
    protocol: str
    language: str


Product = Mapping[str, Any]


def products(config: Config) -> list[dict[str, Any]]:
    """The grid as plain products: its lists, with the languages of each benchmark spelled out."""
    return [
        {
            **block.model_dump(exclude={"benchmarks", "languages"}),
            "benchmarks": {
                b: [
                    x
                    for x in config.benchmarks[b].languages
                    if block.languages is None or x in block.languages
                ]
                for b in block.benchmarks
            },
        }
        for block in config.grid.blocks()
    ]


def cells(blocks: Sequence[Product]) -> list[Cell]:
    """Every cell of the products, once, in order; each model also untuned."""
    return sorted({cell for block in blocks for cell in _product(block)})


def _product(block: Product) -> Iterator[Cell]:
    tuned = itertools.product(block["data"], block["recipes"], block["betas"], block["seeds"])
    checkpoints: list[tuple[str, str, str, str]] = [(NONE, NONE, NONE, NONE), *tuned]
    for model, checkpoint, protocol in itertools.product(block["models"], checkpoints, block["protocols"]):
        for benchmark, languages in block["benchmarks"].items():
            for language in languages:
                yield Cell(model, *checkpoint, benchmark, protocol, language)


def scores(blocks: Sequence[Product]) -> list[str]:
    """The path of every score record of the products."""
    return [SCORES.format(**asdict(cell)) for cell in cells(blocks)]


def batches(config: Config) -> list[tuple[str, int, list[str]]]:
    """(benchmark, number, languages) of the scoring jobs, ``languages_per_job`` languages each."""
    asked = {(c.benchmark, c.language) for c in cells(products(config))}
    size, made = config.languages_per_job, []
    for benchmark in sorted({b for b, _ in asked}):
        spoken = [code for code in config.benchmarks[benchmark].languages if (benchmark, code) in asked]
        made += [(benchmark, n, spoken[i : i + size]) for n, i in enumerate(range(0, len(spoken), size))]
    return made


def score_cells(config: Config, languages: list[str], **names: str) -> str:
    """What determines the records of one scoring job: a JSON list with a cell for each language."""
    chosen = config.models[names["model"]]
    asking = config.protocols[names["protocol"]].model_dump()
    settings = {**asking, "dtype": chosen.dtype, "attention": chosen.attention, "prompts": prompts.VERSION}
    keys = ("model", "data", "recipe", "beta", "seed", "benchmark", "protocol")
    fixed = {"stage": "score", **{key: names[key] for key in keys}, "settings": settings}
    return canonical([{**fixed, "language": language} for language in languages])


def fetch_model_cell(config: Config, model: str) -> str:
    """What determines a model's manifest."""
    return canonical({"stage": "fetch_model", "model": model, "source": config.models[model].where()})


def fetch_benchmark_cell(config: Config, benchmark: str, language: str) -> str:
    """What determines the questions of one language."""
    chosen = config.benchmarks[benchmark]
    settings = {"format": chosen.format, "limit": chosen.limit}
    names = {"stage": "fetch_benchmark", "benchmark": benchmark, "language": language}
    return canonical({**names, "source": chosen.where(), "settings": settings})


def measure_cell(config: Config) -> str:
    """What determines the measured tables: conventions, resource levels, and the products of records.

    A list of records would outgrow what a shell takes as one argument in the paper's grid.
    """
    return canonical({"stage": "measure", "settings": measure_settings(config), "grid": products(config)})


def measure_settings(config: Config) -> dict[str, Any]:
    """The conventions, with the resource level of each language."""
    levels = {code: language.resource for code, language in sorted(config.languages.items())}
    return {**config.measure.model_dump(), "resource": levels}
