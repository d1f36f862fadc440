"""List every result that a configuration needs, with its settings and its inputs.

This is the graph of the workflow without Snakemake. The commands that compare results with a configuration
(status, accept, verify and prune) start from it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from polycal.analysis import embedding_diversity, generation_table, group_tables, measure, next_token_metrics
from polycal.store import acceptances
from polycal.study import grid, identities, paths
from polycal.study.config import Config
from polycal.vocabulary import NONE


@dataclass(frozen=True)
class ExpectedResult:
    """A result that a configuration needs.

    ``outputs`` are its files. ``cell`` contains all its settings. ``inputs`` maps the role of each input to
    its path. ``manifest`` is the file with its manifest; empty: the first output. ``job`` names the job
    that makes it. ``together`` contains all inputs of that job if the job makes several results, and is
    empty otherwise.
    """

    stage: str
    outputs: tuple[str, ...]
    cell: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    job: str = ""
    manifest: str = ""
    together: frozenset[str] = frozenset()

    @property
    def out(self) -> str:
        """The first output, whose path identifies the result."""
        return self.outputs[0]

    @property
    def recorded_in(self) -> str:
        """The path of the file that contains the manifest of the result."""
        return self.manifest or self.out


def expected_results(config: Config) -> list[ExpectedResult]:
    """Every result that ``rule all`` needs. Each result follows its inputs."""
    return [
        *_sources(config),
        *_checkpoints(config),
        *_scores(config),
        *_embeddings(config),
        *_next_tokens(config),
        *_generations(config),
        *_clusters(config),
        *_study(config),
    ]


def _single(stage: str, out: str, cell: str, inputs: Mapping[str, str]) -> ExpectedResult:
    return ExpectedResult(stage, (out,), json.loads(cell), inputs, out)


def _sources(config: Config) -> Iterator[ExpectedResult]:
    blocks, languages = grid.blocks(config), grid.asked_languages(config)
    base_models = grid.base_models(blocks)
    read = {*grid.heldout_data(config), *(name for block in blocks for name in block["data"])}
    data = {name: config.data[name] for name in sorted(read)}
    benchmarks = {name: config.benchmarks[name] for name in languages}
    built = {(config.models[name].miniature or "", seed) for name, seed in base_models}
    for architecture, seed in sorted(pair for pair in built if pair[0]):
        out = paths.MINIATURE_MODEL.format(architecture=architecture, base_seed=seed)
        yield _single("miniature_model", out, identities.miniature_model(config, architecture, seed), {})
    if any(entry.miniature for entry in [*data.values(), *benchmarks.values()]):
        yield _single("miniature_data", paths.MINIATURE_DATA, identities.miniature_data(config), {})
    if any(benchmark.generated for benchmark in benchmarks.values()):
        yield _single("world_benchmark", paths.WORLD_MANIFEST, identities.world_benchmark(config), {})
    for name, seed in base_models:
        architecture = config.models[name].miniature or ""
        gate = paths.MINIATURE_MODEL.format(architecture=architecture, base_seed=seed)
        out, inputs = paths.MODEL.format(model=name, base_seed=seed), {"model": gate} if architecture else {}
        yield _single("fetch_model", out, identities.fetch_model(config, name, seed), inputs)
    if (entailment := grid.entailment_model(config)) is not None and (entailment, NONE) not in base_models:
        out = paths.MODEL.format(model=entailment, base_seed=NONE)
        yield _single("fetch_model", out, identities.fetch_model(config, entailment, NONE), {})
    for name, entry in data.items():
        inputs = {"data": paths.MINIATURE_DATA} if entry.miniature else {}
        out, cell = paths.INSTRUCTIONS.format(data=name), identities.fetch_instructions(config, name)
        yield _single("fetch_instructions", out, cell, inputs)
    for name, benchmark in benchmarks.items():
        inputs = {"data": paths.MINIATURE_DATA} if benchmark.miniature else {}
        inputs |= {"data": paths.WORLD_MANIFEST} if benchmark.generated else {}
        files = {code: paths.QUESTIONS.format(benchmark=name, language=code) for code in languages[name]}
        for code, out in files.items():
            yield _single("fetch_benchmark", out, identities.fetch_benchmark(config, name, code), inputs)
        if len(files) > 1:
            cell = identities.check_parallel(config, name)
            yield _single("check_parallel", paths.PARALLEL.format(benchmark=name), cell, files)


def _checkpoints(config: Config) -> Iterator[ExpectedResult]:
    for names in grid.checkpoints(grid.blocks(config), tuned=True):
        rates = config.recipes[names["recipe"]].learning_rates
        reads = {"model": paths.MODEL.format(**names), "instructions": paths.INSTRUCTIONS.format(**names)}
        manifests = dict(zip(rates, grid.candidates(config, **names), strict=True))
        for rate, out in manifests.items():
            yield _single("finetune", out, identities.finetune(config, **names, lr=rate), reads)
        if len(rates) > 1:
            out = paths.SELECTED.format(**names)
            yield _single("select_lr", out, identities.select_lr(config, **names), manifests)


def _scores(config: Config) -> Iterator[ExpectedResult]:
    batches = {(b, code): (number, codes) for b, number, codes in grid.batches(config) for code in codes}
    for cell in grid.cells(grid.blocks(config)):
        number, codes = batches[cell.benchmark, cell.language]
        cell_json = identities.score(config, [cell.language], **asdict(cell))
        yield _per_language(
            "score", paths.SCORES, f"batch-{number}", codes, config, json.loads(cell_json)[0], asdict(cell)
        )


def _embeddings(config: Config) -> Iterator[ExpectedResult]:
    if (chosen := config.embeddings) is None:
        return
    languages = grid.embedded_languages(config)
    for cell in grid.cells(grid.blocks(config)):
        if (cell.benchmark, cell.protocol) == (chosen.benchmark, chosen.protocol):
            names = {**asdict(cell), "pooling": chosen.pooling}
            by_language = {one["language"]: one for one in json.loads(identities.embed(config, **names))}
            yield _per_language(
                "embed", paths.EMBEDDINGS, "all", languages, config, by_language[cell.language], names
            )


def _per_language(
    stage: str,
    path: str,
    batch: str,
    languages: Iterable[str],
    config: Config,
    cell: Mapping[str, Any],
    names: dict[str, str],
) -> ExpectedResult:
    """The record of one language, which a job for several languages makes."""
    model, questions = grid.checkpoint(config, **names), paths.QUESTIONS.format(**names)
    together = {paths.QUESTIONS.format(**{**names, "language": code}) for code in languages}
    inputs, job = {"model": model, "questions": questions}, path.format(**{**names, "language": batch})
    return ExpectedResult(
        stage, (path.format(**names),), cell, inputs, job, together=frozenset({model, *together})
    )


def _next_tokens(config: Config) -> Iterator[ExpectedResult]:
    for names in grid.checkpoints(grid.blocks(config)) if config.next_token else ():
        for heldout in grid.heldout_data(config):
            reads = {
                "model": grid.checkpoint(config, **names),
                "instructions": paths.INSTRUCTIONS.format(data=heldout),
            }
            cell = identities.score_next_token(config, **names, heldout=heldout)
            yield _single("score_next_token", paths.NEXT_TOKEN.format(**names, heldout=heldout), cell, reads)


def _generations(config: Config) -> Iterator[ExpectedResult]:
    for names in grid.checkpoints(grid.blocks(config)) if config.generation else ():
        for benchmark, number, languages in grid.generation_batches(config):
            for language in languages:
                cell_names = {**names, "benchmark": benchmark, "language": language}
                [cell] = json.loads(identities.generate(config, [language], **names, benchmark=benchmark))
                yield _per_language(
                    "generate", paths.GENERATIONS, f"batch-{number}", languages, config, cell, cell_names
                )


def _clusters(config: Config) -> Iterator[ExpectedResult]:
    if (entailment := grid.entailment_model(config)) is None:
        return
    model = paths.MODEL.format(model=entailment, base_seed=NONE)
    for names in grid.checkpoints(grid.blocks(config)):
        for benchmark, number, languages in grid.generation_batches(config):
            of_job = {**names, "benchmark": benchmark, "entailment": entailment}
            reads = {
                code: {
                    "entailment": model,
                    "questions": paths.QUESTIONS.format(**of_job, language=code),
                    "generations": paths.GENERATIONS.format(**of_job, language=code),
                }
                for code in languages
            }
            together = frozenset(path for inputs in reads.values() for path in inputs.values())
            job = paths.CLUSTERS.format(**of_job, language=f"batch-{number}")
            for cell in json.loads(identities.cluster(config, languages, **names, benchmark=benchmark)):
                out = paths.CLUSTERS.format(**of_job, language=cell["language"])
                inputs = reads[cell["language"]]
                yield ExpectedResult("cluster", (out,), cell, inputs, job, together=together)


def _study(config: Config) -> Iterator[ExpectedResult]:
    folder, shown = paths.STUDY.format(study=config.study), dict[str, str]()
    measured = json.loads(identities.measure(config))
    by_group = json.loads(identities.measure_groups(config))
    diversity = json.loads(identities.measure_embeddings(config))
    next_token = json.loads(identities.measure_next_token(config))
    generation = json.loads(identities.measure_generation(config))
    parallel = grid.parallel_checks(grid.scored_languages(config))
    scores = [*grid.score_records(measured), *identities.truth_manifests(config), *parallel]
    for stage, names, cell, inputs_read in (
        ("measure", measure.table_names(measured), measured, scores),
        ("measure_groups", group_tables.table_names(by_group), by_group, grid.grouped_records(by_group)),
        (
            "measure_embeddings",
            embedding_diversity.table_names(diversity),
            diversity,
            grid.embedding_records(diversity),
        ),
        (
            "measure_next_token",
            next_token_metrics.table_names(next_token),
            next_token,
            grid.next_token_records(next_token),
        ),
        (
            "measure_generation",
            generation_table.table_names(generation),
            generation,
            [
                *grid.generation_records(generation),
                *grid.cluster_records(generation),
                *grid.parallel_checks(grid.generated_languages(config)),
            ],
        ),
    ):
        if inputs_read:
            tables = tuple(f"{folder}/{name}.parquet" for name in names)
            inputs = {str(path): str(path) for path in inputs_read}
            if stage == "measure_embeddings":
                inputs["cells"] = shown["cells.parquet"]
            yield ExpectedResult(stage, tables, cell, inputs, tables[0])
            shown |= {path.rsplit("/", 1)[1]: path for path in tables}
    parts = ("report.html", "tables/table1.md", "tables/table1.csv", "figures", "provenance/landing.yaml")
    page = tuple(f"{folder}/{part}" for part in parts)
    cell = json.loads(identities.report(config, acceptances.active_acceptances()))
    yield ExpectedResult("report", page, cell, shown, page[0], f"{folder}/provenance/report.json")
