"""Instruction data sets as conversations."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.stamps import FixedStamp

from polycal.artifacts import records
from polycal.artifacts.records import RecordError
from polycal.data import instructions, language_id

HUB = Path(__file__).parents[2] / "fixtures/hub"


def fetch(path: Path, kind: str, out: Path, **settings: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    all_settings = {"format": kind, "rows": None, "seed": "0", "heldout": "0.1", "sources": None, **settings}
    cell = {
        "stage": "fetch_instructions",
        "data": "d",
        "source": {"path": str(path)},
        "settings": all_settings,
    }
    instructions.fetch_instructions(cell, out=out, stamp=FixedStamp(stage="fetch_instructions"))
    return records.read_conversations(out).to_pylist(), records.metadata(out)


def starting_with(rows: list[dict[str, Any]], start: str) -> dict[str, Any]:
    """The first conversation with a message that starts with ``start``."""
    return next(row for row in rows if any(m["content"].startswith(start) for m in row["messages"]))


def test_alpaca_with_and_without_input(tmp_path: Path) -> None:
    rows, metadata = fetch(HUB / "alpaca", "alpaca", tmp_path / "out.parquet")
    assert starting_with(rows, "Add the two")["messages"][0]["content"].startswith("Add the two numbers.\n\n")
    assert starting_with(rows, "Write the number 3 in")["messages"] == [
        {"role": "user", "content": "Write the number 3 in words."},
        {"role": "assistant", "content": "This is number 3, written out."},
    ]
    assert metadata["rows"] == 24
    assert metadata["skipped"] == {"no assistant turn": 1}
    assert metadata["conversations"] == len(rows) == 23
    assert metadata["by_source"] == {"d": 23}
    assert metadata["by_split"] == {"heldout": 2, "train": 21}
    assert metadata["stage"] == "fetch_instructions"
    assert list(metadata["files"]) == ["data/train-00000-of-00001-0123456789abcdef.parquet"]


def test_tulu_with_its_languages_sources_and_odd_turns(tmp_path: Path) -> None:
    rows, metadata = fetch(HUB / "tulu-3-sft-mixture", "messages", tmp_path / "out.parquet")
    assert metadata["skipped"] == {"no assistant turn": 2, "empty conversation": 1}
    assert metadata["trimmed"] == 1
    danke = starting_with(rows, "Bitte erzähle")
    assert [m["role"] for m in danke["messages"]] == ["user", "assistant"]
    assert [m["role"] for m in starting_with(rows, "请告诉我")["messages"]] == ["user", "assistant"] * 2
    assert starting_with(rows, "Answer with a number")["messages"][0]["role"] == "system"
    by_language = metadata["by_language"]
    assert {code: by_language[code] for code in ("sw", "yo", "ig", "zh", "de")} == dict.fromkeys(
        ("sw", "yo", "ig", "zh", "de"), 1
    )
    assert by_language["unknown"] == 1
    assert Counter(row["language"] or "unknown" for row in rows) == by_language
    assert metadata["language_from"] == {"identified": 20, "unknown": 1}
    assert metadata["identifier"] == language_id.identifier()
    assert 0.9 < metadata["identified"]["yo"]["confidence"] <= 1
    assert metadata["by_source"]["personas"] == 16
    assert len(metadata["files"]) == 2


def test_the_reformatted_alpaca_is_json_lines(tmp_path: Path) -> None:
    rows, metadata = fetch(HUB / "tulu_stanford_alpaca", "messages", tmp_path / "out.parquet")
    assert len(rows) == 6
    assert metadata["by_source"] == {"stanford_alpaca": 6}


def test_openhermes_is_one_array_whose_rows_have_different_keys(tmp_path: Path) -> None:
    rows, metadata = fetch(HUB / "OpenHermes-2.5", "openhermes", tmp_path / "out.parquet")
    first = starting_with(rows, "Which of the two")
    assert [m["role"] for m in first["messages"]] == ["system", "user", "assistant"]
    assert first["source"] == "airoboros2.2"
    tagged = starting_with(rows, "Hello!")
    # system_prompt becomes the first turn if the conversation has no system turn.
    assert tagged["messages"][0] == {"role": "system", "content": "You are a friendly helper."}
    assert tagged["language"] == "en"
    # Half of a surrogate pair cannot be written as UTF-8.
    assert tagged["messages"][2]["content"] == "I am a helper ?"
    assert metadata["skipped"] == {"no assistant turn": 1, "empty conversation": 1}
    assert metadata["language_from"] == {"tagged": 1, "identified": 21}
    assert metadata["by_source"]["unknown"] == 10


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl", "json"])
def test_a_users_own_file(tmp_path: Path, suffix: str) -> None:
    conversations = [
        [{"role": "user", "content": f"Q {n}"}, {"role": "assistant", "content": f"A, {n}"}] for n in range(5)
    ]
    rows = [{"messages": messages, "language": "yo"} for messages in conversations]
    path = tmp_path / f"own.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif suffix == "csv":
        import csv

        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["messages", "language"])
            writer.writeheader()
            writer.writerows([{**row, "messages": json.dumps(row["messages"])} for row in rows])
    else:
        lines = [json.dumps(row) for row in rows]
        path.write_text("\n".join(lines) if suffix == "jsonl" else f"[{','.join(lines)}]")
    fetched, metadata = fetch(path, "messages", tmp_path / "out.parquet")
    assert sorted(row["messages"][1]["content"] for row in fetched) == [f"A, {n}" for n in range(5)]
    assert metadata["by_language"] == {"yo": 5}
    assert list(metadata["files"]) == [path.name]


def test_a_declared_language_is_not_identified(tmp_path: Path) -> None:
    rows, metadata = fetch(HUB / "alpaca", "alpaca", tmp_path / "out.parquet", language="en")
    assert {row["language"] for row in rows} == {"en"}
    assert metadata["language_from"] == {"declared": 23}
    assert metadata["identifier"] is None


def test_the_seed_determines_the_order_and_a_smaller_sample_is_part_of_a_larger_one(tmp_path: Path) -> None:
    def texts(**settings: Any) -> list[str]:
        rows, _ = fetch(HUB / "alpaca", "alpaca", tmp_path / "out.parquet", **settings)
        return [row["messages"][-1]["content"] for row in rows]

    all_texts = texts()
    assert all_texts == texts()
    assert all_texts != texts(seed="1")
    assert sorted(all_texts) == sorted(texts(seed="1"))
    assert texts(rows=5) == all_texts[:5]
    assert texts(rows=10) == all_texts[:10]
    assert len(texts(rows=1000)) == 23


def test_the_same_rows_give_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        fetch(HUB / "tulu-3-sft-mixture", "messages", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_only_the_selected_sources_are_used(tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    rows, metadata = fetch(HUB / "OpenHermes-2.5", "openhermes", out, sources=["metamath", "platypus"])
    assert {row["source"] for row in rows} == {"metamath"}
    assert metadata["skipped"] == {"other source": 14, "empty conversation": 1}
    assert metadata["rows"] == 24
    with pytest.raises(RecordError, match=r"no row comes from \['metamth'\]; the sources are .*'metamath'"):
        fetch(HUB / "OpenHermes-2.5", "openhermes", tmp_path / "none", sources=["metamth"])
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"messages": "hello"}, r"messages is not a JSON list"),
        ({"messages": {"role": "user"}}, "messages is dict; must be a list of role and content"),
        (
            {"messages": [{"role": "user", "text": "x"}]},
            r"messages\[0\] must have the keys 'role' and 'content'",
        ),
        (
            {"messages": [{"role": "user", "content": 3}]},
            r"messages\[0\].content is 3 \(int\); must be a text",
        ),
        ({"message": []}, "column 'messages' is missing .found message.; is 'message' meant.$"),
    ],
)
def test_a_bad_row_is_refused(tmp_path: Path, row: dict[str, Any], sentence: str) -> None:
    path = tmp_path / "own.jsonl"
    good = {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}
    path.write_text(json.dumps(good) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(RecordError, match=f"own.jsonl: row 1: {sentence}"):
        fetch(path, "messages", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["own.jsonl"]


def test_a_repository_of_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        RecordError, match=r"alpaca \(train\): column 'messages' is missing \(found instruction"
    ):
        fetch(HUB / "alpaca", "messages", tmp_path / "out")
    with pytest.raises(RecordError, match="column 'conversations' is missing"):
        fetch(HUB / "tulu_stanford_alpaca", "openhermes", tmp_path / "out")


def test_rows_with_other_roles_are_counted(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "Q"},
        {"role": "tool", "content": "{}"},
        {"role": "assistant", "content": "A"},
    ]
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({"messages": messages}) + "\n" + json.dumps({"messages": messages[::2]}))
    _, metadata = fetch(path, "messages", tmp_path / "out")
    assert metadata["skipped"] == {"role 'tool'": 1}
    path.write_text(json.dumps({"messages": messages}))
    with pytest.raises(RecordError, match=r"no conversation is left \(role 'tool': 1\)"):
        fetch(path, "messages", tmp_path / "out")


TAGS = [*["eng", "deu_Latn", "en"] * 4, "unk", "nan", "mul", "no", "", None, ["en"]]


def tagged(path: Path, tags: list[Any]) -> Path:
    """A file of conversations with these tags, all of them in English."""
    text = "This is an English sentence about rivers, hills and lakes."
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": text}]
    path.write_text("".join(json.dumps({"messages": messages, "language": tag}) + "\n" for tag in tags))
    return path


def test_tags_are_normalised_and_unknown_ones_counted(tmp_path: Path) -> None:
    path = tagged(tmp_path / "own.jsonl", TAGS)
    _, metadata = fetch(path, "messages", tmp_path / "out", language_mixture="mixed")
    assert metadata["by_language"] == {"en": 10, "de": 4, "unknown": 4, "nb": 1}
    assert metadata["language_from"] == {"tagged": 13, "unknown tag": 4, "identified": 2}
    assert metadata["unknown_tags"] == {"unk": 1, "nan": 1, "mul": 1, "['en']": 1}
    assert metadata["left_out"] == {"language_mixture": 0, "rows": 0}


def test_mixtures_use_the_normalised_tag(tmp_path: Path) -> None:
    path = tagged(tmp_path / "own.jsonl", TAGS[:16])
    rows, metadata = fetch(path, "messages", tmp_path / "out", language_mixture="english_only")
    assert {row["language"] for row in rows} == {"en"}
    assert (len(rows), metadata["left_out"]) == (8, {"language_mixture": 8, "rows": 0})
    balanced = {"language_mixture": "balanced", "languages": ["eng_Latn", "deu"]}
    rows, metadata = fetch(path, "messages", tmp_path / "out", **balanced)
    assert metadata["by_language"] == {"en": 4, "de": 4}
    with pytest.raises(RecordError, match=r"mixture: 'en', 'eng' are one language; name it once"):
        fetch(path, "messages", tmp_path / "out", language_mixture="balanced", languages=["en", "eng"])
    rows, metadata = fetch(
        path, "messages", tmp_path / "out", language="eng", language_mixture="english_only"
    )
    assert metadata["by_language"] == {"en": 16}
    tagged(path, ["unk", "mul"])
    with pytest.raises(
        RecordError, match="'balanced' needs rows whose language is known, but the data set has none"
    ):
        fetch(path, "messages", tmp_path / "out", language_mixture="balanced")


@pytest.mark.parametrize("blank", [None, " ", "\u200b", "\ufeff\n"])
def test_answers_without_text_are_counted(tmp_path: Path, blank: str | None) -> None:
    turns = [
        ("user", "Q"),
        ("assistant", blank),
        ("user", "Well?"),
        ("assistant", "A"),
        ("assistant", "\u200b"),
    ]
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({"messages": [{"role": role, "content": text} for role, text in turns]}))
    rows, metadata = fetch(path, "messages", tmp_path / "out")
    assert [turn["content"] for turn in rows[0]["messages"]] == ["Q", blank or "", "Well?", "A"]
    assert (metadata["empty_answers"], metadata["trimmed"]) == (1, 1)


def test_half_a_surrogate_pair_is_replaced_in_every_column(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    turns = [{"from": "human", "value": "Q\ud800"}, {"from": "gpt", "value": "\udc00A"}]
    row = {"conversations": turns, "system_prompt": "S\ud800", "source": "web\udfff", "language": "\ud800"}
    path.write_text(json.dumps(row))
    rows, metadata = fetch(path, "openhermes", tmp_path / "out")
    assert [turn["content"] for turn in rows[0]["messages"]] == ["S?", "Q?", "?A"]
    assert rows[0]["source"] == "web?"
    assert metadata["by_source"] == {"web?": 1}
