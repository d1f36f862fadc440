"""``polycal show`` prints the answer, the cautions and the verdicts of a study's folder."""

import pytest
from helpers import measured, score_records
from typer.testing import CliRunner

from polycal.cli import app
from polycal.report import answer, findings, study_tables


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
