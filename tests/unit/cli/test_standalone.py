"""``polycal score`` and ``polycal measure`` on files of a user's own."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.question_files import QUESTIONS, write_questions

from polycal.artifacts import records
from polycal.artifacts.records import RecordError
from polycal.cli import standalone
from polycal.cli.stage_commands import UsageError
from polycal.store.run import Job
from polycal.vocabulary import CHECKPOINT_KEYS

CELL = '[{"stage": "score", "model": "m", "benchmark": "b", "language": "en", "settings": {}}]'


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the stage ``score`` would read: its questions and its examples, if there are any."""
    seen: list[dict[str, Any]] = []

    def run(job: Job) -> None:
        seen.append({"questions": [records.read_questions(path) for path in job.inputs["questions"]]})
        seen[-1]["stems"] = [path.stem for path in job.inputs["questions"]]
        if "examples" in job.inputs:
            seen[-1]["examples"] = records.read_questions(job.inputs["examples"])

    monkeypatch.setattr(standalone, "run", run)
    return seen


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The jobs that would be run."""
    given: list[Job] = []
    monkeypatch.setattr(standalone, "run", given.append)
    return given


@pytest.fixture
def asked(tmp_path: Path) -> dict[str, Any]:
    """Options of ``score``: a model, a file of questions and the record."""
    path = tmp_path / "en.csv"
    write_questions(path, QUESTIONS)
    return {"model": tmp_path / "m", "questions": [path], "out": [tmp_path / "s.parquet"]}


def score(path: Path, **options: Any) -> None:
    standalone.score(model=Path("m"), questions=[path], out=[Path("out.parquet")], **options)


@pytest.mark.parametrize("cells", [None, CELL])
@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl", "json"])
def test_score_reads_questions_of_every_format(
    tmp_path: Path, scored: list[dict[str, Any]], suffix: str, cells: str | None
) -> None:
    path = tmp_path / f"en.{suffix}"
    write_questions(path, QUESTIONS)
    before = path.read_bytes()
    score(path, cells=cells, examples=path)
    assert scored[0]["stems"] == ["en"]
    assert [question["gold"] for question in scored[0]["questions"][0]] == [0, 1, 0]
    assert scored[0]["examples"] == scored[0]["questions"][0]
    assert path.read_bytes() == before


def test_placeholders_that_are_left_out_are_counted_on_the_screen(
    tmp_path: Path, scored: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "en.csv"
    write_questions(path, [{**QUESTIONS[0], "options": ["N/A", "4", "5"], "gold": 1}])
    score(path)
    assert scored[0]["questions"][0][0]["options"] == ["4", "5"]
    assert scored[0]["questions"][0][0]["gold"] == 0
    assert "en.csv: 1 options that are 'N/A' are left out." in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl", "json"])
@pytest.mark.parametrize("cells", [None, CELL])
def test_a_broken_file_of_ones_own_is_named_and_stays(
    tmp_path: Path, scored: list[dict[str, Any]], suffix: str, cells: str | None
) -> None:
    path = tmp_path / f"en.{suffix}"
    path.write_text('{"question_id')
    with pytest.raises(RecordError) as refused:
        score(path, cells=cells)
    assert "delete" not in str(refused.value)
    with pytest.raises((RecordError, UsageError), match=rf"en\.{suffix}: ") as refused_measure:
        standalone.measure([path])
    assert "delete" not in str(refused_measure.value)


def test_measure_says_what_is_no_score_record(tmp_path: Path) -> None:
    csv, parquet, record = tmp_path / "q.csv", tmp_path / "q.parquet", tmp_path / "record.parquet"
    for path in (csv, parquet):
        write_questions(path, QUESTIONS)
    records.write(record, [{**QUESTIONS[0], "group": "all", "split": "test"}], records.QUESTION)
    with pytest.raises(
        UsageError, match=r"q\.csv: is no score record; give records that polycal score writes"
    ):
        standalone.measure([csv])
    with pytest.raises(RecordError, match=r"q\.parquet: not written by polycal"):
        standalone.measure([parquet])
    with pytest.raises(RecordError, match=r"record\.parquet: not a score record: column 'option_logprob'"):
        standalone.measure([record])
    with pytest.raises(RecordError, match=r"none\.parquet: no such file"):
        standalone.measure([tmp_path / "none.parquet"])


def test_one_language_of_a_file_with_several(tmp_path: Path, scored: list[dict[str, Any]]) -> None:
    path = tmp_path / "all.csv"
    write_questions(path, [{**QUESTIONS[0], "language": "en"}, {**QUESTIONS[1], "language": "FR"}])
    with pytest.raises(RecordError, match="contains questions in en, fr; must contain one language, or name"):
        score(path)
    score(path, language="fr")
    assert [question["question_id"] for question in scored[0]["questions"][0]] == ["2"]
    with pytest.raises(
        RecordError, match=r"language 'es': no row is in this language; choose .* contains 'en'"
    ):
        score(path, language="es")


def test_a_file_without_a_test_question_is_refused(tmp_path: Path, scored: list[dict[str, Any]]) -> None:
    path = tmp_path / "en.jsonl"
    write_questions(path, [{**QUESTIONS[0], "split": "examples"}])
    with pytest.raises(RecordError, match=r"en\.jsonl: no question of the split 'test'; at least one"):
        score(path)
    assert not scored


def test_a_record_never_replaces_a_file_of_ones_own(tmp_path: Path, scored: list[dict[str, Any]]) -> None:
    path, record = tmp_path / "en.csv", tmp_path / "old.parquet"
    write_questions(path, QUESTIONS)
    before = path.read_bytes()
    write_questions(record, QUESTIONS)
    for out in (path, record, tmp_path):
        with pytest.raises(UsageError, match=r"is there and no record of polycal, so it is not replaced"):
            standalone.score(model=Path("m"), questions=[path], out=[out])
    assert path.read_bytes() == before
    for out in (path / "x.parquet", tmp_path / ("x" * 250)):
        with pytest.raises(UsageError, match=r"--out .*: cannot be written there"):
            standalone.score(model=Path("m"), questions=[path], out=[out])
    twice = [tmp_path / "new.parquet", tmp_path / "new.parquet"]
    with pytest.raises(UsageError, match="--out: a path is given twice"):
        standalone.score(model=Path("m"), questions=[path, path], out=twice)
    assert not scored
    records.write(record, [], records.SCORE)
    standalone.score(model=Path("m"), questions=[path], out=[record])
    assert len(scored) == 1


@pytest.mark.parametrize("cells", ["[1]", "{}", "null", "5", '"x"', '[{"stage": "measure"}]', "[" * 100_000])
def test_cells_that_the_workflow_does_not_give_are_refused(tmp_path: Path, cells: str) -> None:
    path = tmp_path / "en.csv"
    write_questions(path, QUESTIONS)
    with pytest.raises(UsageError, match="--cells: "):
        score(path, cells=cells)


def test_a_record_has_the_names_that_the_manifest_of_its_model_gives(tmp_path: Path, jobs: list[Job]) -> None:
    questions = tmp_path / "en.csv"
    write_questions(questions, QUESTIONS)
    manifest = tmp_path / "model=tiny/base_seed=0/manifest.json"
    manifest.parent.mkdir(parents=True)
    names = {"model": "tiny", "base_seed": "0", "data": "alpaca", "beta": "0.1"}
    out = [tmp_path / "out.parquet"]
    for content, expected in (
        (json.dumps({"cell": {"stage": "finetune", **names, "lr": "1e-3"}}), names),
        (json.dumps({"folder": "."}), {"model": "base_seed=0"}),
        ("{", {"model": "base_seed=0"}),
    ):
        manifest.write_text(content)
        standalone.score(model=manifest, questions=[questions], out=out)
        cell = dict(jobs[-1].cells[0])
        assert {key: cell[key] for key in CHECKPOINT_KEYS if key in cell} == expected
    standalone.score(model=manifest.parent, questions=[questions], out=out)
    assert jobs[-1].cells[0]["model"] == "base_seed=0"


def test_rotations_are_for_letters_and_a_setting_only_where_they_are_used(
    jobs: list[Job], asked: dict[str, Any]
) -> None:
    standalone.score(**asked)
    standalone.score(**asked, rotations=3)
    settings = [job.cells[0]["settings"] for job in jobs]
    assert settings[1] == {**settings[0], "rotations": 3}
    for other in ({"candidates": "texts"}, {"pmi": True}):
        with pytest.raises(UsageError, match="--rotations 3: is for --candidates letters without --pmi"):
            standalone.score(**asked, rotations=3, **other)
    standalone.score(**asked, candidates="true_words")
    assert jobs[-1].cells[0]["settings"]["candidates"] == "true_words"
    standalone.score(**asked, candidates="true_words", pmi=True)
    assert jobs[-1].cells[0]["settings"]["pmi"] is True


def test_follow_ups_are_for_letters_or_texts_in_one_order(jobs: list[Job], asked: dict[str, Any]) -> None:
    standalone.score(**asked)
    standalone.score(**asked, follow_up="levels")
    settings = [job.cells[0]["settings"] for job in jobs]
    assert settings[1] == {**settings[0], "follow_up": "levels"}
    with pytest.raises(
        UsageError, match=r"--follow-up levels: is for letters or texts .* remove --rotations"
    ):
        standalone.score(**asked, follow_up="levels", rotations=2)
    with pytest.raises(UsageError, match="remove --candidates true_words"):
        standalone.score(**asked, follow_up="levels", candidates="true_words")
    with pytest.raises(
        UsageError, match="--follow-up: 'words' is refused: must be levels or true_letters or"
    ):
        standalone.score(**asked, follow_up="words")
