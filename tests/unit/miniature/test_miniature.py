import json

import pandas as pd
import pyarrow.parquet as pq
import pytest

from polycal.artifacts import records
from polycal.data import benchmarks, instructions
from polycal.miniature import base_models
from polycal.miniature.pretraining import tokenizer
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


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("miniature")
    base_models.build_data({"settings": SETTINGS}, folder, {})
    return folder


def parts(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_same_seed_gives_the_same_bytes(hub, tmp_path):
    base_models.build_data({"settings": SETTINGS}, tmp_path, {})
    assert parts(tmp_path) == parts(hub)
    base_models.build_data({"settings": {**SETTINGS, "seed": 4}}, tmp_path, {})
    assert parts(tmp_path) != parts(hub)


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
        benchmarks.fetch({**cell, "settings": settings}, tmp_path / f"{language}.parquet", {})
        files.append(tmp_path / f"{language}.parquet")
    benchmarks.check_parallel(files)
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
    cell = {"data": data, "source": {"path": str(hub / f"data/{data}")}}
    instructions.fetch(
        {**cell, "settings": {**settings, "sources": None, "config": None}}, tmp_path / "c.parquet", {}
    )
    rows = table.num_rows
    assert rows == 80 * (base_models.PLENTY if data == "aya" else 1)
    assert len(records.read_conversations(tmp_path / "c.parquet", "train")) == 0.95 * rows
    assert len(records.read_conversations(tmp_path / "c.parquet", "heldout")) == 0.05 * rows


def _tuned(hub):
    """The sets that a model may be tuned on: all but the one that is there to be held out."""
    return [p for p in sorted(hub.glob("data/*/data/*.parquet")) if p.parts[-3] != "unseen"]


def test_the_held_out_set_asks_what_no_tuning_shows_in_every_language(hub):
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
        for number, choice, _ in base_models.questions(world, benchmark, 60):
            assert not world.tuning[choice.fact], number
            assert world.question("en", choice.fact) not in tuned
            assert world.statement("en", choice.fact, int(world.answer[choice.fact])) not in tuned
    assert world.question("en", world.facts(tuning=True)[0]).split()[-1] in tuned


def test_only_the_likeness_of_tulu_holds_other_languages_and_none_is_low_resource(hub):
    for data, foreign in (("alpaca", False), ("openhermes", False), ("tulu", True)):
        text = str(pq.read_table(hub / f"data/{data}/data/train-00000-of-00001.parquet").to_pylist())
        assert any("一" <= letter <= "鿿" for letter in text) == foreign
        assert not any("ঀ" <= letter <= "৿" or "ఀ" <= letter <= "౿" for letter in text)


@pytest.mark.parametrize("architecture", ["mistral", "llama", "gemma2"])
def test_any_text_comes_back_from_the_tokenizer(architecture):
    known = tokenizer(["a", " the"], architecture)
    for text in ("Ọ̀rọ̀ 中文 عربى हिन्दी 🙂\n\n  two  spaces", "the\tthe"):
        assert known.decode(known(text)["input_ids"], skip_special_tokens=True) == text


def test_a_base_that_learned_nothing_stops_the_build(tmp_path, monkeypatch):
    monkeypatch.setattr(base_models, "GATE_QUESTIONS", 20)
    settings = {**SETTINGS, "steps": 2, "batch_size": 4, "learning_rate": "1e-3"}
    with pytest.raises(
        base_models.GateError, match=r"llama: accuracy on mmlu-prox is 0\.\d+, .*70% is needed"
    ):
        base_models.build_model({"model": "llama", "settings": settings}, tmp_path / "m", {})
    assert not (tmp_path / "m").exists()


def test_a_language_that_the_world_does_not_speak_is_named(tmp_path):
    with pytest.raises(WorldError, match="'xx' is not spoken"):
        base_models.build_data({"settings": {**SETTINGS, "languages": ["en", "xx"]}}, tmp_path, {})
    assert not list(tmp_path.iterdir())
