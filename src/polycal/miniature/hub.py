"""The miniature hub: instruction sets and benchmarks in folders like those of the real repositories.

All texts are invented by polycal and have its licence. The true answer distribution of each test question
is stored beside the benchmarks. No model is trained on it.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from polycal.artifacts import files
from polycal.artifacts.manifests import Stamp
from polycal.data import sources
from polycal.miniature import benchmark_questions, instruction_sets, open_questions
from polycal.miniature.benchmark_questions import BENCHMARKS
from polycal.miniature.world import World

FOLDERS = ("data", "benchmarks", "truth")


def miniature_data(cell: Mapping[str, Any], *, out: Path, stamp: Stamp) -> None:
    """Write the instruction sets, the benchmarks and their true distributions beside the manifest ``out``.

    ``cell["settings"]`` has ``seed`` and ``languages`` of the world, ``questions`` (test questions per benchmark
    and language) and ``rows`` (conversations per instruction set; ``aya`` has AYA_ROWS times as many). The
    manifest lists size and sha256 of each file. Files of an earlier run in the three folders are deleted.

    Raises WorldError for a seed or languages that no world has; nothing is written or deleted then.
    """
    settings, folder = cell["settings"], out.parent
    world = World(settings["seed"], settings["languages"])
    for name in FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)
    for name, make_table in instruction_sets.INSTRUCTION_SETS.items():
        _write_table(
            folder / "data" / name / "data/train-00000-of-00001.parquet", make_table(world, settings["rows"])
        )
        _write_card(folder / "data" / name, [("default", {"train": "data/train-*"})], INSTRUCTION_NOTE)
    for name in BENCHMARKS:
        _write_benchmark(world, name, settings["questions"], folder)
    without_options = folder / "benchmarks" / open_questions.OPEN_BENCHMARK
    _write_table(
        without_options / "data/train-00000-of-00001.parquet",
        open_questions.table(world, settings["questions"]),
    )
    _write_card(without_options, [("default", {"train": "data/train-*"})])
    written = sorted(path for name in FOLDERS for path in (folder / name).rglob("*") if path.is_file())
    files.write_json(out, {**stamp(), "files": sources.checksums(written, folder)})


def _write_benchmark(world: World, name: str, count: int, folder: Path) -> None:
    shape, repository = BENCHMARKS[name], folder / "benchmarks" / name
    questions = list(benchmark_questions.questions(world, name, count))
    for language in world.languages:
        for split, role in (("test", "test"), (shape.example_split, "examples")):
            rows = [shape.row(world, language, question) for question in questions if question.split == role]
            _write_table(repository / language / f"{split}-00000-of-00001.parquet", _text_if_empty(rows))
        # The stage fetch_benchmark takes its ids from the same column.
        truth = [
            {
                "question_id": str(shape.row(world, language, question)[shape.id_column]),
                "truth": list(question.choice.truth),
            }
            for question in questions
            if question.split == "test"
        ]
        _write_table(folder / "truth" / name / f"{language}.parquet", _text_if_empty(truth))
    patterns = {"test": "test-*", shape.example_split: f"{shape.example_split}-*"}
    configs = [
        (language, {split: f"{language}/{pattern}" for split, pattern in patterns.items()})
        for language in world.languages
    ]
    _write_card(repository, configs)


def _text_if_empty(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The rows as a table. A column without any value has the type text, as on the real hub."""
    table = pa.Table.from_pylist([dict(row) for row in rows])
    fields = [
        pa.field(field.name, pa.string()) if pa.types.is_null(field.type) else field for field in table.schema
    ]
    return table.cast(pa.schema(fields))


def _write_table(path: Path, table: pa.Table) -> None:
    with files.replacing(path) as part:
        pq.write_table(table, part)


INSTRUCTION_NOTE = (
    f"Answers are drawn at temperature {instruction_sets.TEMPERATURE}: annotators nearly always write the"
    " most likely answer,\n"
    "while the benchmarks' right answers are drawn from the distribution itself."
    " Part of the over-confidence\n"
    "after tuning is this shift.\n"
)
"""Last paragraph of an instruction set's card."""


def _write_card(folder: Path, configs: Sequence[tuple[str, Mapping[str, str]]], note: str = "") -> None:
    """Write the README.md of a repository: its licence, and the files of each split of each configuration."""
    lines = ["---", "license: apache-2.0", "configs:"]
    for name, splits in configs:
        lines += [f"- config_name: '{name}'", "  data_files:"]
        for split, pattern in splits.items():
            lines += [f"  - split: {split}", f"    path: {pattern}"]
    lines += ["---", "", f"# {folder.name} (miniature)", ""]
    lines += ["Made up by polycal; nothing of it is from the real set."]
    files.write_text(folder / "README.md", "\n".join(lines) + "\n" + note)
