"""The miniature hub: the fetching stages can read it, and tuning and benchmarks share no facts."""

import json

import pandas as pd
import pyarrow.parquet as pq
import pytest
from helpers.stamps import FixedStamp

from polycal.artifacts import records
from polycal.data import benchmarks, instructions, parallel
from polycal.data.sources import files_are_whole
from polycal.miniature import benchmark_questions, instruction_sets
from polycal.miniature.hub import miniature_data
from polycal.miniature.world import World, WorldError

LANGUAGES = ["en", "de", "fr", "zh", "bn", "sw", "yo", "te"]
SETTINGS = {"seed": 3, "languages": LANGUAGES, "questions": 60, "rows": 80}
PROX = [
    "question_id",
    "question",
    *(f"option_{n}" for n in range(10)),
    "answer",
    "answer_index",
    "cot_content",
]
GLOBAL = ["sample_id", "subject", "subject_category", "question", *(f"option_{x}" for x in "abcd"), "answer"]


def build(folder, **changes):
    cell = {"settings": {**SETTINGS, **changes}}
    miniature_data(cell, out=folder / "data.json", stamp=FixedStamp(stage="miniature_data"))


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("miniature")
    build(folder)
    return folder


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_same_seed_gives_the_same_bytes(hub, tmp_path):
    build(tmp_path)
    assert contents(tmp_path) == contents(hub)
    build(tmp_path, seed=4)
    assert contents(tmp_path) != contents(hub)


def test_the_manifest_lists_every_file_and_detects_missing_and_changed_ones(hub, tmp_path):
    build(tmp_path)
    out = tmp_path / "data.json"
    manifest = json.loads(out.read_text())
    assert manifest["stage"] == "miniature_data"
    assert sorted([*manifest["files"], "data.json"]) == sorted(contents(tmp_path))
    assert files_are_whole(out)
    file = tmp_path / "truth/mmlu-prox/sw.parquet"
    body = file.read_bytes()
    file.write_bytes(body[::-1])
    assert not files_are_whole(out)
    file.unlink()
    assert not files_are_whole(out)
    file.write_bytes(body)
    assert files_are_whole(out)
    out.unlink()
    assert not files_are_whole(out)


@pytest.mark.parametrize(
    ("benchmark", "columns", "sizes"), [("mmlu-prox", PROX, set(range(3, 11))), ("global-mmlu", GLOBAL, {4})]
)
def test_a_benchmark_becomes_parallel_questions(hub, tmp_path, benchmark, columns, sizes):
    first = pq.read_table(next((hub / "benchmarks" / benchmark / "sw").glob("test-*")))
    assert [c for c in columns if c not in first.column_names] == []
    files = []
    for language in LANGUAGES:
        source = {"path": str(hub / "benchmarks" / benchmark)}
        cell = {"benchmark": benchmark, "language": language, "source": source}
        settings = {"format": benchmark, "limit": None}
        files.append(tmp_path / f"{language}.parquet")
        benchmarks.fetch_benchmark({**cell, "settings": settings}, out=files[-1], stamp=FixedStamp())
    parallel.compare_ids(files)
    rows = records.read_questions(files[5], "test")
    assert len(rows) == 60
    assert {len(row["options"]) for row in rows} == sizes
    examples = pd.Series([row["group"] for row in records.read_questions(files[5], "examples")])
    assert (examples.value_counts() == 5).all()
    truth = pq.read_table(hub / f"truth/{benchmark}/sw.parquet").to_pylist()
    for row, true in zip(rows, truth, strict=True):
        assert true["question_id"] == row["question_id"]
        assert len(true["truth"]) == len(row["options"])
        assert sum(true["truth"]) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    ("data", "format_", "columns"),
    [
        ("alpaca", "alpaca", {"instruction", "input", "output", "text"}),
        ("tulu", "messages", {"id", "messages", "source"}),
        ("openhermes", "openhermes", {"conversations", "source", "category", "system_prompt"}),
        ("aya", "messages", {"messages", "source", "language"}),
        ("unseen", "messages", {"messages", "source", "language"}),
    ],
)
def test_an_instruction_set_becomes_conversations(hub, tmp_path, data, format_, columns):
    table = pq.read_table(hub / f"data/{data}/data/train-00000-of-00001.parquet")
    assert columns <= set(table.column_names)
    settings = {"format": format_, "language": "en", "rows": None, "heldout": "0.05", "seed": "0"}
    cell = {
        "data": data,
        "source": {"path": str(hub / f"data/{data}")},
        "settings": {**settings, "sources": None, "config": None},
    }
    instructions.fetch_instructions(cell, out=tmp_path / "c.parquet", stamp=FixedStamp())
    rows = table.num_rows
    assert rows == 80 * (instruction_sets.AYA_ROWS if data == "aya" else 1)
    assert len(records.read_conversations(tmp_path / "c.parquet", "train")) == 0.95 * rows
    assert len(records.read_conversations(tmp_path / "c.parquet", "heldout")) == 0.05 * rows


def _tuned(hub):
    """The files of the sets that a model may be tuned on: all except the held-out conversations."""
    return [p for p in sorted(hub.glob("data/*/data/*.parquet")) if p.parts[-3] != "unseen"]


def test_the_held_out_set_has_every_language_and_asks_about_no_fact_of_tuning(hub):
    world = World(SETTINGS["seed"], LANGUAGES)
    rows = pq.read_table(hub / "data/unseen/data/train-00000-of-00001.parquet").to_pylist()
    assert {row["language"] for row in rows} == set(LANGUAGES)
    asked = {world.question("en", fact) for fact in world.facts(tuning=True)}
    assert not asked & {row["messages"][0]["content"] for row in rows}


def test_facts_of_tuning_and_of_benchmarks_are_disjoint(hub):
    world = World(SETTINGS["seed"], LANGUAGES)
    assert not set(world.facts(tuning=True)) & set(world.facts(tuning=False))
    tuned = json.dumps([pq.read_table(p).to_pylist() for p in _tuned(hub)], ensure_ascii=False)
    for benchmark in ("mmlu-prox", "global-mmlu"):
        for number, choice, _ in benchmark_questions.questions(world, benchmark, 60):
            assert not world.tuning[choice.fact], number
            assert world.question("en", choice.fact) not in tuned
            assert world.statement("en", choice.fact, int(world.answer[choice.fact])) not in tuned
    assert world.question("en", world.facts(tuning=True)[0]).split()[-1] in tuned


def test_only_the_tulu_set_has_other_languages_and_none_of_them_is_low_resource(hub):
    for data, foreign in (("alpaca", False), ("openhermes", False), ("tulu", True)):
        text = str(pq.read_table(hub / f"data/{data}/data/train-00000-of-00001.parquet").to_pylist())
        assert any("一" <= letter <= "鿿" for letter in text) == foreign
        assert not any("ঀ" <= letter <= "৿" or "ఀ" <= letter <= "౿" for letter in text)


def test_a_language_that_the_world_does_not_have_is_refused(tmp_path):
    with pytest.raises(WorldError, match="'xx' is not spoken"):
        build(tmp_path, languages=["en", "xx"])
    assert not list(tmp_path.iterdir())
