"""The benchmark world: the same questions in every language, with one right option."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import babel
import pytest
from babel.core import get_global
from babel.languages import get_official_languages
from babel.numbers import get_territory_currencies
from helpers.stamps import FixedStamp

from polycal.artifacts import open_records, records
from polycal.audit.artifact_index import ArtifactIndex
from polycal.data import benchmarks, sources
from polycal.data.parallel import compare_ids
from polycal.data.world import facts, names, questions
from polycal.data.world.benchmark import world_benchmark
from polycal.data.world.languages import LANGUAGES, OPEN, VARIANTS
from polycal.data.world.names import Names, Thing, WorldError
from polycal.store.manifest_schema import WorldVariant

CELL = {"stage": "world_benchmark"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The written benchmark, below ``resources`` as in a study."""
    folder = tmp_path_factory.mktemp("world") / "resources/world"
    world_benchmark(
        CELL,
        out=folder / "world.json",
        stamp=FixedStamp(stage="world_benchmark", cell=CELL, fingerprint="f", reads={}),
    )
    return folder


@pytest.fixture(scope="module")
def every(folder: Path) -> dict[str, dict[str, list[dict]]]:
    """The rows of each variant in each language."""
    return {
        variant: {
            code: [json.loads(line) for line in (folder / variant / f"{code}.jsonl").read_text().splitlines()]
            for code in LANGUAGES
        }
        for variant in VARIANTS
    }


def test_the_same_questions_are_written_on_every_machine_and_day(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "world.json"
    code = (
        "import pathlib, sys; from helpers.stamps import FixedStamp;"
        "from polycal.data.world.benchmark import world_benchmark;"
        "world_benchmark({'stage': 'w'}, out=pathlib.Path(sys.argv[1]), stamp=FixedStamp())"
    )
    environment = {"PYTHONHASHSEED": "7", "LANG": "C", "TZ": "Asia/Tokyo"}
    paths = {"PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", code, str(out)], check=True, env={**environment, **paths})
    again, first = json.loads(out.read_text()), json.loads((folder / "world.json").read_text())
    assert again["files"] == first["files"]
    assert len(first["files"]) == len(LANGUAGES) * (len(VARIANTS) + 1)  # and the variant without options
    assert sources.files_are_whole(folder / "world.json")


def test_all_languages_have_the_same_questions_in_the_same_order(every) -> None:
    fixed = ("question_id", "group", "split", "gold")
    for by_language in every.values():
        english = [[row[key] for key in fixed] + [len(row["options"])] for row in by_language["en"]]
        for code, rows in by_language.items():
            assert [[row[key] for key in fixed] + [len(row["options"])] for row in rows] == english, code
    ids = [{row["question_id"] for row in by_language["en"]} for by_language in every.values()]
    assert ids[0] == ids[1]


def test_each_question_has_four_to_ten_different_options_in_each_language(every) -> None:
    for variant, most in VARIANTS.items():
        for code, rows in every[variant].items():
            assert len({row["question_id"] for row in rows}) == len(rows)
            for row in rows:
                assert 4 <= len(row["options"]) <= most
                assert len({option.casefold() for option in row["options"]}) == len(row["options"]), (
                    code,
                    row,
                )
                assert all(option.strip() == option != "" for option in [*row["options"], row["question"]])
    sizes = {v: Counter(len(row["options"]) for row in by["en"]) for v, by in every.items()}
    assert set(sizes["world"]) == {4}
    assert sizes["world-ten"][10] > len(every["world"]["en"]) / 2


def test_the_question_is_in_its_answer_in_the_named_groups_only(every) -> None:
    inside = {}
    for rows in every["world"].values():
        for row in rows:
            question, answer = row["question"].casefold(), row["options"][row["gold"]].casefold()
            inside[row["question_id"]] = (
                inside.get(row["question_id"], False) or question in answer or answer in question
            )
    for row in every["world"]["en"]:
        assert row["group"].endswith("-named") == inside[row["question_id"]], row


def test_the_right_option_is_right_and_no_other_is() -> None:
    drawn = questions.questions(Names(LANGUAGES), 10)
    zones = get_global("zone_territories")
    seen = Counter()
    for question in drawn:
        relation, _, code = question.id.partition("-")
        answers = [option.code for option in question.options]
        gold = answers[question.gold]
        seen[relation] += 1
        if relation == "currency":
            tender = get_territory_currencies(code, facts.DAY, facts.DAY)
            assert tender == [gold]
            assert not set(answers) - {gold} & set(tender)
        elif relation == "language":
            official = {name.split("_")[0] for name in get_official_languages(code, de_facto=True)}
            assert official == {gold}
            spoken = {name.split("_")[0] for name in get_global("territory_languages")[code]}
            assert not (set(answers) - {gold}) & spoken
        elif relation == "city":
            assert zones[code.replace(".", "/")] == gold
        else:
            parts = {
                facts.CONTINENTS.get(zone.split("/")[0]) for zone, owner in zones.items() if owner == code
            }
            assert parts - {None} == {gold}
    assert set(seen) == {"currency", "language", "continent", "city"}
    known = {question.id: question for question in drawn}
    for subject, gold in {
        "currency-JP": "JPY",
        "currency-KE": "KES",
        "language-BR": "pt",
        "continent-NG": "002",
        "city-Africa.Nairobi": "KE",
        "city-Europe.Warsaw": "PL",
    }.items():
        assert known[subject].options[known[subject].gold].code == gold
    for left_out in ("language-CH", "currency-ZW", "continent-TR", "city-Asia.Jerusalem"):
        assert left_out not in known


def test_wrong_options_come_from_the_region_while_it_has_any() -> None:
    by_id = {f"{fact.relation}-{fact.subject.code.replace('/', '.')}": fact for fact in facts.facts()}
    for question in questions.questions(Names(LANGUAGES), 4):
        fact = by_id[question.id]
        wrong = set(question.options) - {fact.answer}
        assert wrong <= fact.near | fact.far
        if len(fact.near) > 20:
            assert wrong <= fact.near, question.id


def test_right_options_are_spread_over_the_positions(every) -> None:
    positions = Counter(row["gold"] for row in every["world"]["en"])
    expected = len(every["world"]["en"]) / 4
    assert all(abs(positions[number] - expected) < 4 * (expected * 0.75) ** 0.5 for number in range(4))


def test_each_group_has_five_examples_that_are_no_test_questions(every) -> None:
    for by_language in every.values():
        counts = Counter((row["group"], row["split"]) for row in by_language["en"])
        groups = {group for group, _ in counts}
        assert groups >= {"currency", "currency-named", "language", "continent", "city"}
        for group in groups:
            assert counts[group, "examples"] == questions.EXAMPLES
            assert counts[group, "test"] >= questions.SMALLEST_GROUP
            golds = [
                row["options"][row["gold"]]
                for row in by_language["en"]
                if row["group"] == group and row["split"] == "examples"
            ]
            assert len(set(golds)) >= 4, group
    assert sum(row["split"] == "test" for row in every["world"]["en"]) >= 900


def test_the_share_equal_to_english_is_that_of_the_written_files(folder: Path, every) -> None:
    manifest = json.loads((folder / "world.json").read_text())
    for variant, by_language in every.items():
        described = manifest["variants"][variant]
        WorldVariant.model_validate(described)
        counts = Counter((row["group"], row["split"]) for row in by_language["en"])
        assert {(g, s): n for g, of in described["questions"].items() for s, n in of.items()} == counts
        english = [option for row in by_language["en"] if row["split"] == "test" for option in row["options"]]
        for code, rows in by_language.items():
            own = [option for row in rows if row["split"] == "test" for option in row["options"]]
            share = sum(a == b for a, b in zip(own, english, strict=True)) / len(own)
            assert described["equal_to_english"][code]["all"] == round(share, 4)
    shares = manifest["variants"]["world"]["equal_to_english"]
    assert shares["en"]["all"] == 1
    assert shares["ja"]["all"] == shares["ar"]["all"] == 0
    assert shares["fil"]["all"] > 0.7


def test_questions_become_records_that_are_parallel_and_lead_back(
    folder: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(folder.parents[1])
    outs = []
    for code in ("en", "yo", "zh"):
        cell = {
            "stage": "fetch_benchmark",
            "benchmark": "world",
            "language": code,
            "source": {"generated": "resources/world/world"},
            "settings": {"format": "file", "limit": 50},
        }
        out = folder.parent / f"benchmarks/world/{code}.parquet"
        reads = sources.input_checksums(cell)
        assert list(reads) == [f"{code}.jsonl"]
        stamp = FixedStamp(stage="fetch_benchmark", cell=cell, fingerprint=code, reads=reads)
        benchmarks.fetch_benchmark(cell, out=out, stamp=stamp)
        outs.append(out)
    assert compare_ids(outs) == {"languages": 3, "shared": 50, "dropped": {}}
    assert {row["group"] for row in records.read_questions(outs[0]) if row["split"] == "examples"} >= {"city"}
    index = ArtifactIndex(outs[1])
    inputs, missing = index.inputs(index.owner(outs[1]))
    assert ([found.path for found in inputs], missing) == (["resources/world/world.json"], [])
    with pytest.raises(
        sources.SourceError, match="no such folder; polycal world-benchmark must write it first"
    ):
        sources.local_path({"generated": "nowhere"})


def test_a_babel_without_a_language_is_refused_and_nothing_is_written(tmp_path: Path, monkeypatch) -> None:
    real = babel.Locale.parse

    def parse(code: str) -> babel.Locale:
        if code == "yo":
            raise babel.UnknownLocaleError(code)
        return real(code)

    monkeypatch.setattr(babel.Locale, "parse", parse)
    (tmp_path / "world").mkdir()
    with pytest.raises(WorldError) as error:
        world_benchmark(CELL, out=tmp_path / "world.json", stamp=FixedStamp())
    assert str(error.value) == (
        f"babel {babel.__version__} has no names in 'yo'; install the version that envs/cpu.lock pins."
    )
    assert [path.name for path in tmp_path.iterdir()] == ["world"]


def test_a_babel_with_too_few_names_is_refused(monkeypatch) -> None:
    real = names._name
    monkeypatch.setattr(
        names, "_name", lambda locale, thing: None if thing.kind == "currency" else real(locale, thing)
    )
    with pytest.raises(
        WorldError, match=r"only 0 questions of the group 'currency' have names in all languages"
    ):
        questions.questions(Names(("en", "sw")), 4)


def test_names_are_compared_in_every_language() -> None:
    made = Names(("en", "sw"))
    kenya, shilling = Thing("territory", "KE"), Thing("currency", "KES")
    assert made.of(shilling) == ("Kenyan Shilling", "Shilingi ya Kenya")
    assert made.contain(kenya, shilling)
    assert made.differ(kenya, shilling)
    assert not made.differ(kenya, kenya)
    assert made.of(Thing("currency", "XXA")) is None


def test_open_questions_are_those_with_options_and_accept_every_name_of_the_answer(
    folder: Path, every
) -> None:
    for code in ("en", "ru", "zh", "ar"):
        rows = [json.loads(line) for line in (folder / OPEN / f"{code}.jsonl").read_text().splitlines()]
        closed = {row["question_id"]: row for row in every["world"][code]}
        right = {row["question_id"]: row["options"][row["gold"]] for row in closed.values()}
        left_out = {name for name in closed if name not in {row["question_id"] for row in rows}}
        assert {closed[name]["group"] for name in left_out} == {"continent"}
        assert {right[name] for name in left_out} == {names.Names([code]).of(Thing("territory", "019"))[0]}
        for row in rows:
            with_options = closed[row["question_id"]]
            assert {key: row[key] for key in ("group", "split", "question")} == {
                key: with_options[key] for key in ("group", "split", "question")
            }
            assert row["answers"][0] == right[row["question_id"]]
            assert len(set(row["answers"])) == len(row["answers"])
            assert (row["group"].startswith("currency")) or len(row["answers"]) == 1
    examples = Counter(row["group"] for row in rows if row["split"] == "examples")
    assert set(examples.values()) == {questions.EXAMPLES}
    russian = Names(["ru"]).accepted(Thing("currency", "USD"), "ru")
    assert {"доллар США", "доллара США", "долларов США"} <= set(russian)


def test_open_questions_are_read_as_a_benchmark(folder: Path, tmp_path: Path) -> None:
    paths = []
    for code in ("en", "ur"):
        paths.append(tmp_path / f"{code}.parquet")
        cell = {
            "language": code,
            "source": {"generated": str(folder / OPEN)},
            "settings": {"format": "open", "limit": None},
        }
        benchmarks.fetch_benchmark(cell, out=paths[-1], stamp=FixedStamp())
    assert compare_ids(paths)["languages"] == 2
    read = open_records.read_questions(paths[0], "test")
    counts = json.loads((folder / "world.json").read_text())["open"][OPEN]
    assert Counter(row["group"] for row in read) == {group: of["test"] for group, of in counts.items()}
