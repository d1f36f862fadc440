"""Cells and paths: what a configuration asks for, and where it lies. No other module spells a path."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from polycal.artifacts.files import canonical_json
from polycal.scoring import prompts
from polycal.store import code_versions
from polycal.study.config import Config

NONE = "none"
CHECKPOINT = "model={model}/data={data}/recipe={recipe}/beta={beta}/seed={seed}"
MODEL = "resources/models/{model}/manifest.json"
INSTRUCTIONS = "resources/instructions/{data}.parquet"
QUESTIONS = "resources/benchmarks/{benchmark}/{language}.parquet"
TRAINED = f"results/checkpoints/{CHECKPOINT}/lr={{lr}}/manifest.json"
SELECTED = f"results/checkpoints/{CHECKPOINT}/selected.json"
SCORES = f"results/scores/{CHECKPOINT}/benchmark={{benchmark}}/protocol={{protocol}}/language={{language}}/scores.parquet"
EMBEDDINGS = f"results/embeddings/{CHECKPOINT}/benchmark={{benchmark}}/protocol={{protocol}}/pooling={{pooling}}/language={{language}}/embeddings.parquet"
TOKENS = f"results/next_token/{CHECKPOINT}/heldout={{heldout}}/tokens.parquet"
PARALLEL = "resources/benchmarks/{benchmark}/parallel.json"
STUDY = "results/studies/{study}"
MINIATURE_MODEL = "resources/miniature/models/{architecture}/gate.json"
MINIATURE_DATA = "resources/miniature/data.json"
MINIATURE_TRUTH = "resources/miniature/truth/{benchmark}"


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


def folders(blocks: Sequence[Product]) -> list[str]:
    """The folder of every fine-tuned cell of the products; its checkpoints lie below, one a learning rate."""
    found = {SELECTED.format(**asdict(cell)) for cell in cells(blocks) if cell.data != NONE}
    return sorted(path.rsplit("/", 1)[0] for path in found)


def conversations(blocks: Sequence[Product]) -> list[str]:
    """The conversations of every instruction set of the products."""
    return [INSTRUCTIONS.format(data=data) for data in sorted({d for b in blocks for d in b["data"]})]


def trained(config: Config) -> list[str]:
    """The manifest of every fine-tuned checkpoint of the grid, one for each learning rate, and every selection."""
    found = {(c.model, c.data, c.recipe, c.beta, c.seed) for c in cells(products(config)) if c.data != NONE}
    keys = ("model", "data", "recipe", "beta", "seed")
    made: list[str] = []
    for one in sorted(found):
        names = dict(zip(keys, one, strict=True))
        made += candidates(config, **names)
        if len(config.recipes[names["recipe"]].learning_rates) > 1:
            made.append(SELECTED.format(**names))
    return made


def candidates(config: Config, **names: str) -> list[str]:
    """The manifests of one cell, one for each learning rate of its recipe."""
    return [TRAINED.format(**names, lr=lr) for lr in config.recipes[names["recipe"]].learning_rates]


def checkpoint(config: Config, **names: str) -> str:
    """The file that says which weights a cell is scored with: the base's, the only ones, or those selected."""
    if names["data"] == NONE:
        return MODEL.format(**names)
    rates = config.recipes[names["recipe"]].learning_rates
    return (SELECTED if len(rates) > 1 else TRAINED).format(**names, lr=rates[0])


def batches(config: Config) -> list[tuple[str, int, list[str]]]:
    """(benchmark, number, languages) of the scoring jobs, ``languages_per_job`` languages each."""
    asked = {(c.benchmark, c.language) for c in cells(products(config))}
    size, made = config.languages_per_job, []
    for benchmark in sorted({b for b, _ in asked}):
        spoken = [code for code in config.benchmarks[benchmark].languages if (benchmark, code) in asked]
        made += [(benchmark, n, spoken[i : i + size]) for n, i in enumerate(range(0, len(spoken), size))]
    return made


def spoken(config: Config) -> dict[str, list[str]]:
    """The languages that the grid asks each benchmark in, in the benchmark's order."""
    found: dict[str, list[str]] = {}
    for benchmark, _, languages in batches(config):
        found.setdefault(benchmark, []).extend(languages)
    return found


def _asking(config: Config, names: Mapping[str, str]) -> dict[str, Any]:
    """How a protocol asks a checkpoint. A base model has seen no chat format: it is asked plainly."""
    told = config.protocols[names["protocol"]].model_dump()
    return {**told, "chat_template": None} if names["data"] == "none" else told


def score_cells(config: Config, languages: list[str], **names: str) -> str:
    """What determines the records of one scoring job: a JSON list with a cell for each language."""
    chosen = config.models[names["model"]]
    settings = {
        **_asking(config, names),
        "dtype": chosen.dtype,
        "attention": chosen.attention,
        "prompts": prompts.VERSION,
    }
    keys = ("model", "data", "recipe", "beta", "seed", "benchmark", "protocol")
    fixed = {"stage": "score", **{key: names[key] for key in keys}, "settings": settings}
    return canonical_json([{**fixed, "language": language} for language in languages])


def fetch_model_cell(config: Config, model: str) -> str:
    """What determines a model's manifest."""
    return canonical_json({"stage": "fetch_model", "model": model, "source": config.models[model].where()})


def fetch_instructions_cell(config: Config, data: str) -> str:
    """What determines the conversations of an instruction set."""
    chosen = config.data[data]
    settings = chosen.model_dump(
        include={
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
    )
    return canonical_json(
        {"stage": "fetch_instructions", "data": data, "source": chosen.where(), "settings": settings}
    )


def finetune_cell(config: Config, **names: str) -> str:
    """What determines a fine-tuned checkpoint: not ranks, partition, ZeRO stage or threads."""
    settings = config.recipes[names["recipe"]].model_dump(exclude={"learning_rates"})
    settings["attention"] = config.models[names["model"]].attention
    keys = ("model", "data", "recipe", "beta", "seed", "lr")
    return canonical_json({"stage": "finetune", **{key: names[key] for key in keys}, "settings": settings})


def select_cell(config: Config, **names: str) -> str:
    """What determines a choice among learning rates: the list of them included."""
    keys = ("model", "data", "recipe", "beta", "seed")
    rates = config.recipes[names["recipe"]].learning_rates
    return canonical_json(
        {"stage": "select_lr", **{key: names[key] for key in keys}, "learning_rates": rates}
    )


def embedded(blocks: Sequence[Product], chosen: Mapping[str, str] | None) -> list[str]:
    """The path of every embedding record; ``chosen`` is benchmark, protocol and pooling, None where there are none."""
    if chosen is None:
        return []
    asked = (chosen["benchmark"], chosen["protocol"])
    found = [cell for cell in cells(blocks) if (cell.benchmark, cell.protocol) == asked]
    return [EMBEDDINGS.format(**asdict(cell), pooling=chosen["pooling"]) for cell in found]


def embedding(config: Config) -> dict[str, str] | None:
    """Benchmark, protocol and pooling of the study's embeddings, None where it embeds nothing."""
    return config.embeddings.model_dump(exclude={"questions"}) if config.embeddings else None


def embedded_languages(config: Config) -> list[str]:
    """The languages in which prompts are embedded."""
    chosen = config.embeddings
    if chosen is None:
        return []
    return [code for name, _, some in batches(config) if name == chosen.benchmark for code in some]


def embed_cells(config: Config, **names: str) -> str:
    """What determines the embeddings of one checkpoint: a JSON list with a cell for each language."""
    assert config.embeddings is not None
    model = config.models[names["model"]]
    settings = {
        **{key: value for key, value in _asking(config, names).items() if key != "pmi"},
        "pooling": names["pooling"],
        "questions": config.embeddings.questions,
        "dtype": model.dtype,
        "attention": model.attention,
    }
    keys = ("model", "data", "recipe", "beta", "seed", "benchmark", "protocol")
    fixed = {"stage": "embed", **{key: names[key] for key in keys}, "settings": settings}
    return canonical_json([{**fixed, "language": language} for language in embedded_languages(config)])


def diversity_cell(config: Config) -> str:
    """What determines the tables of diversity, beside the embeddings and the study's ECE."""
    settings = config.measure.model_dump(include={"bootstrap_samples", "seed"})
    told = {"settings": settings, "grid": products(config), "embeddings": embedding(config)}
    return canonical_json({"stage": "diversity", **told})


def heldout(config: Config) -> list[str]:
    """The data sets whose held-out conversations are read; none where the study scores no next tokens."""
    return config.next_token.data if config.next_token else []


def next_tokens(blocks: Sequence[Product], heldout: Sequence[str]) -> list[str]:
    """The path of every record of next tokens on these held-out sets."""
    found = sorted({(c.model, c.data, c.recipe, c.beta, c.seed) for c in cells(blocks)})
    keys = ("model", "data", "recipe", "beta", "seed")
    return [
        TOKENS.format(**dict(zip(keys, one, strict=True)), heldout=name) for one in found for name in heldout
    ]


def next_token_cell(config: Config, **names: str) -> str:
    """What determines a record of next tokens."""
    assert config.next_token is not None
    model = config.models[names["model"]]
    settings = {
        **config.next_token.model_dump(exclude={"data"}),
        "dtype": model.dtype,
        "attention": model.attention,
    }
    keys = ("model", "data", "recipe", "beta", "seed", "heldout")
    return canonical_json({"stage": "next_token", **{key: names[key] for key in keys}, "settings": settings})


def tokens_cell(config: Config) -> str:
    """What determines the tables of next tokens, beside the records."""
    settings = config.measure.model_dump(include={"bins", "binning", "bootstrap_samples", "seed"})
    told = {"settings": settings, "grid": products(config), "heldout": heldout(config)}
    return canonical_json({"stage": "tokens", **told})


def miniature_data_cell(config: Config) -> str:
    """What determines the miniature's instruction sets and benchmarks."""
    assert config.miniature is not None
    settings = config.miniature.model_dump(include={"seed", "languages", "questions", "rows"})
    return canonical_json({"stage": "miniature_data", "settings": settings})


def miniature_model_cell(config: Config, architecture: str) -> str:
    """What determines one of the miniature's base models."""
    assert config.miniature is not None
    settings = config.miniature.model_dump()
    return canonical_json({"stage": "miniature_model", "model": architecture, "settings": settings})


def fetch_benchmark_cell(config: Config, benchmark: str, language: str) -> str:
    """What determines the questions of one language."""
    chosen = config.benchmarks[benchmark]
    settings = {"format": chosen.format, "limit": chosen.limit}
    names = {"stage": "fetch_benchmark", "benchmark": benchmark, "language": language}
    return canonical_json({**names, "source": chosen.where(), "settings": settings})


def check_parallel_cell(benchmark: str, languages: Sequence[str]) -> str:
    """What determines whether the languages of a benchmark ask the same questions."""
    return canonical_json({"stage": "check_parallel", "benchmark": benchmark, "languages": list(languages)})


def measure_cell(config: Config) -> str:
    """What determines the measured tables: conventions, resource levels, and the products of records.

    A list of records would outgrow what a shell takes as one argument in the paper's grid.
    """
    return canonical_json(
        {"stage": "measure", "settings": measure_settings(config), "grid": products(config)}
    )


def present_cell(config: Config) -> str:
    """What determines tables, figures and report, beside the measured tables: the acceptances that they list too."""
    names = {code: language.name for code, language in sorted(config.languages.items())}
    told = {
        "stage": "present",
        "grid": products(config),
        "languages": names,
        "measure": config.measure.model_dump(),
        "origins": origins(config),
        "acceptances": code_versions.standing(),
    }
    return canonical_json(told)


def origins(config: Config) -> list[dict[str, str]]:
    """Where each model, instruction set and benchmark of the grid comes from, and its licence where it is told."""
    found = []
    for kind in ("models", "data", "benchmarks"):
        for name in sorted({name for block in products(config) for name in block[kind]}):
            one = getattr(config, kind)[name]
            place = one.hub or one.path or f"miniature {one.miniature}"
            told = {"source": place, "revision": one.revision or "", "licence": one.licence or ""}
            found.append({"kind": kind, "name": name, **told})
    return found


def measure_settings(config: Config) -> dict[str, Any]:
    """The conventions, with the resource level of each language, and where the true answers of a benchmark lie."""
    levels = {code: language.resource for code, language in sorted(config.languages.items())}
    settings = {**config.measure.model_dump(), "resource": levels}
    asked = sorted({name for block in products(config) for name in block["benchmarks"]})
    known = {name: config.benchmarks[name].miniature for name in asked}
    truth = {name: MINIATURE_TRUTH.format(benchmark=place) for name, place in known.items() if place}
    return settings | ({"truth": truth} if truth else {})


def truths(config: Config) -> list[str]:
    """The manifest of the true answers, where the study asks a benchmark of the miniature."""
    return [MINIATURE_DATA] if "truth" in measure_settings(config) else []
