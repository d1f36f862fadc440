"""``polycal show`` prints the answer of a study's folder or of score records, and writes a page of records."""

import re

import pytest
from helpers import measured, score_records
from typer.testing import CliRunner

from polycal.analysis.score_arrays import MeasureError
from polycal.cli import app
from polycal.cli.stage_commands import UsageError
from polycal.report import answer, findings, records_page, study_tables


def test_the_first_screen_of_a_study(tmp_path):
    measured.write_tables(score_records.study(tmp_path / "scores", 40), tmp_path / "study")
    result = CliRunner().invoke(app.app, ["show", str(tmp_path / "study")])
    assert result.exception is None
    study = study_tables.read(tmp_path / "study", {})
    words = " ".join(result.output.split())
    for statement in answer.answer(study):
        assert f"{statement.sentence} {statement.numbers}" in words
    assert "Careful: A benchmark has only 40 questions in a language." in words
    for check in findings.claim_checks(study):
        assert f"{check.agrees}, {check.support}: {check.claim} (mmlu-prox, texts-0shot)" in words
    assert max(map(len, result.output.splitlines())) <= 80


def test_a_folder_without_tables_is_refused(tmp_path):
    result = CliRunner().invoke(app.app, ["show", str(tmp_path)])
    assert isinstance(result.exception, study_tables.StudyError)
    with pytest.raises(study_tables.StudyError, match=r"cells\.parquet is missing"):
        raise result.exception


def show(*arguments):
    return CliRunner().invoke(app.app, ["show", *map(str, arguments)])


def test_records_have_a_first_screen_and_a_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    score_records.runs(tmp_path / "records", n=40)
    result = show("records")
    assert result.exception is None
    assert "large on mmlu-prox (texts-0shot) is over-confident in" in " ".join(result.output.split())
    assert "The option --out FOLDER writes tables, figures and a page." in result.output
    assert max(map(len, result.output.splitlines())) <= 80
    assert [path.name for path in tmp_path.iterdir()] == ["records"]

    written = show("records/small", "records/large", "--out", "page")
    assert written.exception is None
    assert f"The page: {tmp_path / 'page' / records_page.PAGE}" in written.output
    # without the last line, which says where the page is
    assert written.stdout.rpartition("\n\n")[0] == result.stdout.rpartition("\n\n")[0]
    # the folder is a measured one, so its first screen is shown without measuring again
    again = show("page")
    assert again.stdout.startswith(result.stdout.rpartition("\n\n")[0])


def test_names_and_levels_are_those_of_the_catalogue_beside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    score_records.runs(tmp_path / "records", n=40)
    (tmp_path / "config").mkdir()
    entry = "languages:\n  de: {name: Deutsch, script: Latin, resource: high}\n  en: {name: E, script: Latin, resource: mid}\n"
    (tmp_path / "config/languages.yaml").write_text(
        entry + "  gsw: {name: G, script: Latin, resource: low}\n"
    )
    words = " ".join(show("records").output.split())
    assert len(re.findall(r"[+-]0\.\d{3} \((?:Deutsch|E|G)\)", words)) == 4


def test_what_cannot_be_shown_is_refused_before_it_is_measured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = score_records.runs(tmp_path / "records", n=20)
    study = tmp_path / "study"
    study.mkdir()
    (study / "cells.parquet").write_bytes(b"")
    cases = [
        (["study", "records"], UsageError, "study: is a measured study, which is shown alone"),
        (
            ["study", "--out", "page"],
            UsageError,
            "--out: applies to score records, but study is a measured study",
        ),
        (["records", "--against", "huge"], MeasureError, "no record of run 'huge'"),
        (["records", files[0]], MeasureError, "hold the same cell"),
        (
            ["records", "--out", "study"],
            records_page.OutputError,
            r"contains cells\.parquet, which polycal show did not",
        ),
        (["questions.csv"], UsageError, "questions.csv: is no score record"),
    ]
    monkeypatch.setattr(
        "polycal.analysis.record_tables.record_tables", lambda *given: pytest.fail("measured")
    )
    for arguments, kind, message in cases:
        result = show(*arguments)
        assert isinstance(result.exception, kind), arguments
        with pytest.raises(kind, match=message):
            raise result.exception
