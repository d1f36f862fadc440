"""The documents name files, commands and modules that exist, their links resolve, and their examples run."""

import doctest
import importlib.util
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
import yaml
from helpers import generations, score_records
from helpers.measured import write_tables
from helpers.stamps import FixedStamp
from snakemake.cli import get_argument_parser

from polycal import losses, metrics
from polycal.analysis import embedding_diversity, generation_table, group_tables, next_token_metrics
from polycal.artifacts import manifests, records
from polycal.cli import app
from polycal.report import data_dictionary, publish, published_findings
from polycal.report.table_formats import markdown
from polycal.store import manifest_schema
from polycal.store.stages import STAGES, Input, Stage
from polycal.study import config_loading, grid, paths
from polycal.vocabulary import CELL_KEYS

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / name for name in ("config/README.md", "config/own/README.md")),
    *(ROOT / name for name in ("profiles/slurm/README.md", "tests/real/README.md")),
]
ARCHITECTURE = ROOT / "docs/architecture.md"
RESULTS_FOLDER = ROOT / "docs/results-folder.md"

TRACKED = re.compile(
    r"(?:\.ci|benchmarks|config|docs|envs|profiles|results/reference|src|tests|workflow)(?:/[\w.*+-]+)*/?"
    r"|(?:Makefile|Snakefile|pyproject\.toml|[A-Z]+\.(?:md|cff))"
)
"""Paths that are in the repository; all others are made by running it."""
WRITTEN_BY_COMMANDS = {"benchmarks/gpu.csv", "config/accepted.yaml"}
EXAMPLE_COMMAND = "question-lengths"
SNAKEMAKE_OPTIONS = {name for action in get_argument_parser()._actions for name in action.option_strings}
COMMANDS: dict[str, Any] = typer.main.get_command(app.app).commands  # type: ignore[attr-defined]


def identifier(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


def code_blocks(text: str, language: str | None = None) -> list[str]:
    """The fenced blocks of a document, or those with a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [code for name, code in found if language in (None, name)]


def code(text: str) -> Iterator[str]:
    """Every line of code of a document: of its fenced blocks, with continued lines joined, and its code spans."""
    for block in code_blocks(text):
        yield from block.replace("\\\n", " ").splitlines()
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose))


every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=identifier)


@every_document
def test_files_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    words = {word.strip("'\"(),;:=") for line in code(text) for word in line.split()}
    named = {word for word in words if TRACKED.fullmatch(word)} - WRITTEN_BY_COMMANDS
    # a README beside the files that it describes names them without their folder
    missing = {name for name in named if not any(ROOT.glob(name)) and not (document.parent / name).exists()}
    assert not missing


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub and the site make them."""
    prose = re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_document
def test_links_and_their_anchors_resolve(document: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = document.parent / file if file else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@every_document
def test_commands_and_their_options_exist(document: Path) -> None:
    for line in code(document.read_text(encoding="utf-8")):
        for call in re.split(r"\s(?:&&|\||>)\s", line):
            match = re.search(r"(?:^|[\s/\"$])polycal ([a-z][\w-]*)(.*)", call)
            if match is None or match[1] == EXAMPLE_COMMAND:
                continue
            assert match[1] in COMMANDS, line
            known = {option for parameter in COMMANDS[match[1]].params for option in parameter.opts}
            assert set(re.findall(r"(?<!\S)--[a-z][\w-]*", match[2])) <= known, line


@every_document
def test_programs_of_the_environment_exist(document: Path) -> None:
    for line in code(document.read_text(encoding="utf-8")):
        for program in re.findall(r"\.venv/bin/([\w-]+)", line):
            assert (Path(sys.executable).parent / program).exists(), line


@every_document
def test_options_of_snakemake_exist(document: Path) -> None:
    for line in code(document.read_text(encoding="utf-8")):
        match = re.search(r"(?:^|[\s/])snakemake (.*)", line)
        if match is not None:
            assert set(re.findall(r"(?<!\S)--[a-z][\w-]*", match[1])) <= SNAKEMAKE_OPTIONS, line


@every_document
def test_targets_of_make_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in code(document.read_text(encoding="utf-8")):
        assert set(re.findall(r"(?:^|\s)make ([a-z][\w-]*)", line)) <= targets, line


@every_document
def test_modules_and_tests_exist(document: Path) -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("*.py")))
    files = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    for line in code(document.read_text(encoding="utf-8")):
        for name in re.findall(r"polycal((?:\.[A-Za-z_]\w*)+)", line):
            assert is_module_or_attribute(name[1:]), f"polycal{name}"
        for name in re.findall(r"(?:^|\s)(test_\w+(?:\.py)?…?)", line):
            if name.endswith(".py"):
                assert name in files
            else:
                end = "" if name.endswith("…") else r"\("
                assert re.search(rf"^def {name.rstrip('…')}{end}", sources, re.MULTILINE), name


def is_module_or_attribute(name: str) -> bool:
    path = ROOT / "src/polycal" / name.replace(".", "/")
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    module = path.parent.with_suffix(".py")
    if not module.is_file():
        module = path.parent / "__init__.py"
    return module.is_file() and re.search(rf"\b{path.name}\b", module.read_text()) is not None


def test_the_readme_is_one_page_and_keeps_its_place_for_the_table() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 110
    assert text.index("<!-- study: begin -->") < text.index("<!-- study: end -->")
    named = set(re.findall(r"`([a-z][a-z-]*)`", text[text.index("## Pipeline") :]))
    stages = {stage.command for stage in STAGES.values() if not stage.name.startswith("miniature")}
    assert stages <= named
    assert f"`{paths.CACHE}`" in text


def test_the_example_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    [example] = code_blocks((ROOT / "README.md").read_text(encoding="utf-8"), "python")
    names: dict[str, Any] = {}
    exec(compile(example, "README.md", "exec"), names)
    ece, smooth_ece = map(float, capsys.readouterr().out.split())
    # three answers in three bins: (0.1 + 0.2 + 0.6) / 3
    assert ece == pytest.approx(0.3)
    assert 0 < smooth_ece < 1
    assert names["weight"].grad.shape == names["weight"].shape


def test_every_block_of_python_is_run_by_a_test() -> None:
    run = {ROOT / "README.md", ARCHITECTURE, RESULTS_FOLDER}
    assert {
        document for document in DOCUMENTS if code_blocks(document.read_text(encoding="utf-8"), "python")
    } == run


@pytest.mark.parametrize("module", [metrics, losses], ids=["metrics", "losses"])
def test_the_library_is_documented_and_its_examples_run(module: Any) -> None:
    page = (ROOT / f"docs/api-{module.__name__.split('.')[-1]}.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\.\. auto\w+:: ([A-Za-z_]\w*)$", page, re.MULTILINE)) == set(module.__all__)
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    for name in module.__all__:
        [test] = finder.find(getattr(module, name), name, module=False)
        assert test.examples or isinstance(getattr(module, name), type), name
        assert runner.run(test).failed == 0, name


def test_every_document_is_a_page_of_the_site() -> None:
    listed = set(
        re.findall(r'"((?:docs/|config/|profiles/|tests/)?[\w/-]+)"', (ROOT / "docs/conf.py").read_text())
    )
    pages = {document.relative_to(ROOT).with_suffix("").as_posix() for document in DOCUMENTS}
    assert pages <= listed


def published(name: str, folder: Path = ROOT / paths.REFERENCE) -> pd.DataFrame:
    """A table of numbers that the repository holds beside a study's figures."""
    types = str if name == "conventions" else {"beta": str}
    return pd.read_csv(folder / f"{name}.csv", dtype=types, keep_default_na=False)


def published_studies() -> dict[str, Path]:
    """The folder of each published study, by the prefix of its marks."""
    studies = {"": ROOT / paths.REFERENCE, "real-": (ROOT / paths.REFERENCE).parent / "real"}
    return {prefix: folder for prefix, folder in studies.items() if folder.is_dir()}


def test_the_tables_of_the_results_are_those_of_the_published_files() -> None:
    text = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    studies = published_studies()
    assert "" in studies
    for prefix, folder in studies.items():
        for name in published_findings.TABLES:
            begin, end = publish.marks(prefix + name)
            table = markdown(published_findings.as_texts(name, published(name, folder)))
            assert text[text.index(begin) + len(begin) + 1 : text.index(end)].startswith(
                f"{table}\nMeasured at commit "
            )


@pytest.mark.parametrize("name", ["README.md", "docs/results.md"])
def test_intervals_in_the_sentences_about_findings_are_published_ones(name: str) -> None:
    tables = []
    for folder in published_studies().values():
        tables += [
            markdown(published_findings.as_texts(part, published(part, folder)))
            for part in published_findings.TABLES
        ]
        tables.append((folder / "table1.md").read_text(encoding="utf-8"))
    known = set(re.findall(r"[-+]?[\d.]+%? \[[^]]*\]", "\n".join(tables).replace("+", "")))
    prose = re.sub(r"^\|.*$", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = set(re.findall(r"-?[\d.]+%? \[-?[\d.]+, -?[\d.]+\]", " ".join(prose.replace("−", "-").split())))
    # of an earlier training, which docs/log.md describes
    found.discard("11% [3, 18]")
    assert found
    assert found <= known


def test_the_architecture_names_every_package_and_stage() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    packages = {path.parent.name for path in (ROOT / "src/polycal").glob("*/__init__.py")}
    modules = {path.stem for path in (ROOT / "src/polycal").glob("*.py")} - {"__init__"}
    layers = text[text.index("## Packages") : text.index("## The registry")]
    assert all(f"`polycal.{name}`" in layers for name in packages | modules)
    registry = text[text.index("## The registry") : text.index("## How a stage runs")]
    assert set(re.findall(r"^\| `(\w+)` \|", registry, re.MULTILINE)) == set(STAGES)


def test_the_architecture_orders_the_packages_as_the_contract_does() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    rows = [
        re.findall(r"`polycal\.(\w+)`", row.split(" | ")[0]) for row in text.splitlines() if row[:1] == "|"
    ]
    packages = {name for layer in layers for name in layer.split(" | ")}
    assert [row for row in rows if row and set(row) <= packages] == [layer.split(" | ") for layer in layers]


def test_the_table_of_edits_is_the_one_that_is_tested() -> None:
    path = ROOT / "tests/unit/store/test_code_versions.py"
    specification = importlib.util.spec_from_file_location("tested_edits", path)
    assert specification is not None
    assert specification.loader is not None
    tested = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(tested)
    text = ARCHITECTURE.read_text(encoding="utf-8")
    table = text[text.index("| edited module |") :].partition("\n\n")[0]
    rows = re.findall(r"^\| `polycal\.([\w.]+)` \| (.*) \|$", table, re.MULTILINE)
    shown = {module.replace(".", "/"): set(re.findall(r"`(\w+)`", stages)) for module, stages in rows}
    assert len(shown) == len(rows) == len(table.splitlines()) - 2
    assert shown == tested.EDITS


def test_the_example_of_a_new_stage_works(tmp_path: Path) -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    module, entry, path = code_blocks(text, "python")
    names: dict[str, Any] = {}
    exec(compile(module, "docs/architecture.md", "exec"), names)
    stage = eval(entry, {"Stage": Stage, "Input": Input, "schema": manifest_schema})
    assert stage.command == EXAMPLE_COMMAND
    assert f"polycal {EXAMPLE_COMMAND}" in text
    assert stage.entry.partition(":")[2] in names
    exec(path, {"RESULTS": paths.RESULTS}, names)
    assert names["LENGTHS"].endswith(stage.output)
    questions = [
        {
            "question_id": str(number),
            "group": "all",
            "question": words,
            "options": ["a", "b"],
            "gold": 0,
            "split": "test",
        }
        for number, words in enumerate(["four", "or eight"])
    ]
    records.write(tmp_path / "en.parquet", questions, records.QUESTION)
    out = tmp_path / stage.output
    names[stage.name]({}, questions=tmp_path / "en.parquet", out=out, stamp=FixedStamp(stage=stage.name))
    assert manifests.read(out) == {"stage": "question_lengths", "mean_characters": 6}


def test_the_citation_agrees_with_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (citation["title"], citation["version"]) == (project["name"], project["version"])
    assert citation["license"] == project["license"]
    title = citation["preferred-citation"]["title"]
    assert title in " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every table that the measuring stages write, of small invented records, in one folder."""
    folder = tmp_path_factory.mktemp("study")
    out = folder / "tables"
    truth = score_records.write_truth(folder / "truth")
    settings = {**score_records.SETTINGS, "truth": truth, "bootstrap_samples": 20}
    scores = score_records.study(folder / "scores", languages=("en", "yo"))
    write_tables(scores, out, settings)
    rng, stamp = np.random.default_rng(0), FixedStamp()
    embeddings = []
    for path in scores:
        embeddings.append(folder / "embeddings" / path.name)
        rows = [{"question_id": f"q{n}", "embedding": rng.normal(size=4).tolist()} for n in range(20)]
        records.write(embeddings[-1], rows, records.EMBEDDING, {"cell": records.metadata(path)["cell"]})
    embedding_diversity.measure_embeddings(
        {"settings": {"bootstrap_samples": 20, "seed": 0}},
        embeddings=embeddings,
        measured=out / "cells.parquet",
        out=out,
        stamp=stamp,
    )
    tokens = []
    for beta in ("none", "0"):
        tokens.append(folder / f"tokens-{beta}.parquet")
        cell = {**score_records.cell(beta), "heldout": "unseen"}
        row = {"language": "en", "position": 0, "logprob": -1.0, "top_logprob": -0.5, "correct": True}
        row |= {"entropy": 1.0, "sum_squared_prob": 0.4}
        table = pa.Table.from_pylist([{"conversation": n, **row} for n in range(9)], records.TOKEN_SCORE)
        records.write(tokens[-1], table, records.TOKEN_SCORE, {"cell": cell, "vocabulary": 100})
    next_token_metrics.measure_next_token({"settings": settings}, tokens=tokens, out=out, stamp=stamp)
    group_tables.measure_groups({"settings": settings}, scores=scores, out=out, stamp=stamp)
    generated = generations.study(folder / "generations")
    generation_table.measure_generation(
        {"settings": generations.SETTINGS}, generations=generated, out=out, stamp=stamp
    )
    return out


def documented_columns() -> dict[str, list[list[str]]]:
    """For each heading of the map of results: the cells of its table's rows."""
    text = RESULTS_FOLDER.read_text(encoding="utf-8")
    sections = re.split(r"^##+ `?([\w ]+?)`?$", text, flags=re.MULTILINE)
    rows = {}
    for name, section in zip(sections[1::2], sections[2::2], strict=True):
        table = section.partition("|---|---|---|\n")[2].partition("\n\n")[0]
        rows[name] = [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in table.splitlines()]
    return rows


def names_in(cell: str) -> list[str]:
    """The columns that a row names; an ending such as `_low` belongs to the name before it."""
    found: list[str] = []
    for name in re.findall(r"`(\w+)`", cell):
        metric = re.sub("_(low|high)$", "", found[-1]) if name.startswith("_") else ""
        found.append(metric + name)
    return found


def test_every_column_of_every_table_is_documented_in_its_order(tables: Path) -> None:
    documented = documented_columns()
    written = {path.stem: pq.read_schema(path).names for path in sorted(tables.iterdir())}
    assert len(written) == 28
    assert {name: [c for row in documented[name] for c in names_in(row[0])] for name in written} == written
    assert all(len(row) == 3 for name in written for row in documented[name])


def test_documented_meanings_and_units_are_those_of_the_data_dictionary() -> None:
    documented = documented_columns()
    assert [row[0] for row in documented["Keys"]] == [f"`{key}`" for key in CELL_KEYS]
    compared = set()
    for name in ("Keys", "cells", "diagnostics"):
        for column, meaning, unit in documented[name]:
            if "[keys]" not in meaning:
                [first, *_] = names_in(column)
                entry = data_dictionary.entries([first])[0]
                assert (meaning.replace("\\|", "|"), unit) == (entry.meaning, entry.unit), column
                compared.add(first)
    assert compared == set(data_dictionary.COLUMNS)


def test_the_example_of_the_results_folder_selects_one_row(
    tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    means = pd.read_parquet(tables / "means.parquet")
    means = means.replace(
        {
            "model": {"llama": "llama-mini"},
            "data": {"alpaca": "alpaca-mini"},
            "benchmark": {"mmlu-prox": "global-mmlu-mini"},
        }
    )
    study = tmp_path / "results/studies/mini"
    study.mkdir(parents=True)
    means.to_parquet(study / "means.parquet")
    monkeypatch.chdir(tmp_path)
    [example] = code_blocks(RESULTS_FOLDER.read_text(encoding="utf-8"), "python")
    exec(compile(example, "docs/results-folder.md", "exec"), {})
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["ece", "ece_low", "ece_high"]
    [expected] = means[(means.beta == "0.1") & (means.group == "all")].ece
    assert float(row.split()[0]) == pytest.approx(expected, abs=5.1e-4)


def test_the_glossary_is_in_alphabetical_order_and_explains_what_it_refers_to() -> None:
    text = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    terms = [term.lower() for term in re.findall(r"^\*\*(.*?)\.?\*\*", text, re.MULTILINE)]
    ranked = [term.replace("β (", "").replace("-", "") for term in terms]
    assert ranked == sorted(ranked)
    assert len(terms) == len(set(terms)) > 40
    references = {
        name.lower() for name in re.findall(r"(?<!\*)\*(\w[\w -]*)\*(?!\*)", text.replace("\n", " "))
    }
    assert references
    assert not {name for name in references if not any(term.startswith(name.rstrip("s")) for term in terms)}


def test_the_overlays_of_the_tutorial_cause_what_it_says(tmp_path: Path) -> None:
    overlays = code_blocks((ROOT / "docs/tutorial.md").read_text(encoding="utf-8"), "yaml")
    files = [ROOT / "config" / name for name in ("languages.yaml", "config.yaml", "mini.yaml")]
    mini, configs = config_loading.load(files), []
    for number, overlay in enumerate(overlays):
        file = tmp_path / f"{number}.yaml"
        file.write_text(overlay, encoding="utf-8")
        configs.append(config_loading.load([*files, file]))
    bins, beta = configs
    assert (mini.measure.bins, bins.measure.bins) == (15, 10)
    assert bins.study == mini.study != beta.study
    assert grid.cells(grid.blocks(bins)) == grid.cells(grid.blocks(mini))
    new = set(grid.finetuned(beta)) - set(grid.finetuned(mini))
    assert len(new) == 1
    assert "/beta=0.05/" in new.pop()
    scored = set(grid.cells(grid.blocks(beta))) - set(grid.cells(grid.blocks(mini)))
    assert {cell.beta for cell in scored} == {"0.05"}
