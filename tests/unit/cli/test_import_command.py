"""``polycal import`` and ``polycal measure`` of what it wrote, as commands."""

import re
from pathlib import Path

import pytest
from helpers import score_records
from helpers.harness_logs import samples, write_run
from typer.testing import CliRunner

from polycal.artifacts import records
from polycal.cli import app
from polycal.data.importers.logged_questions import ImportLogError

README = Path(__file__).parents[3] / "README.md"
LANGUAGES = ("deu_Latn", "fra_Latn")


def run(*words: str | Path) -> str:
    result = CliRunner().invoke(app.app, [str(word) for word in words], terminal_width=400)
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Two runs of one benchmark in two languages."""
    for seed, model in enumerate(("lab/base", "lab/tuned")):
        tasks = {f"belebele_{tag}": samples(30, seed) for tag in LANGUAGES}
        write_run(tmp_path / "logs", tasks, model=model)
    return tmp_path / "logs"


def test_from_logs_to_paired_differences(logs: Path, tmp_path: Path) -> None:
    out = tmp_path / "records"
    printed = run("import", "lm-eval", logs, "--out", out).split()
    assert len(printed) == 4
    assert all(Path(path).is_file() for path in printed)
    table = run("measure", out, "--format", "csv")
    assert table.count("belebele") >= 4
    assert "byte" in table
    assert "ece_low" in run("measure", out, "--intervals", "--format", "csv")
    compared = run("measure", out, "--against", "lab__base")
    assert "lab__tuned" in compared
    assert compared.count(" mean ") == 9


def test_two_models_under_one_name_are_refused(logs: Path, tmp_path: Path) -> None:
    words = ["--tasks", "*_fra_*", "--model", "m", "--benchmark", "b"]
    with pytest.raises(ImportLogError, match="are both m, b, texts-0shot, fr"):
        run("import", "lm-eval", logs, "--out", tmp_path / "one", *words)
    assert not (tmp_path / "one").exists()


def test_the_two_lines_of_the_readme_run(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if "polycal import" in line)
    monkeypatch.chdir(logs.parent)
    printed = [run(*line.split()[1:]) for line in lines[start : start + 2]]
    assert len(printed[0].splitlines()) == 4
    assert len(re.findall(r"\d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\]", printed[1])) >= 4
    assert max(map(len, printed[1].splitlines())) <= 80
    assert printed[1].count("lab__") == 4


def test_the_line_of_the_readme_that_shows_a_record_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [line] = [line for line in README.read_text(encoding="utf-8").splitlines() if "polycal show" in line]
    [made] = score_records.runs(tmp_path / "made", ("my-model",), ("my-en",), n=40)
    # as polycal score writes it without a workflow
    cell = {
        "model": "my-model",
        "benchmark": "questions",
        "language": "my-en",
        "settings": {"candidates": "letters"},
    }
    monkeypatch.chdir(tmp_path)
    score_records.write(Path("my-scores.parquet"), cell, records.read_scores(made).to_pylist())
    printed = run(*line.split()[1:])
    assert "my-model on questions (letters-0shot) is over-confident in" in " ".join(printed.split())
    assert (tmp_path / "my-page/report.html").is_file()
