"""Intervals and paired differences of Score files, without a study."""

from pathlib import Path

import numpy as np
import pytest
from helpers import score_records
from helpers.score_records import cell, score_row

from polycal.analysis import run_comparison
from polycal.analysis.score_arrays import MeasureError


def write_runs(
    folder: Path, n: int = 120, shift: float = 1.0, languages: tuple[str, ...] = ("de", "sw")
) -> list[Path]:
    """Two runs on the same questions in each language; ``better`` adds ``shift`` nats to the right option."""
    files = []
    for language in languages:
        rng = np.random.default_rng(len(files))
        gold, noise = rng.integers(0, 4, n), rng.normal(-8, 1, (n, 4))
        for run, lift in (("plain", 0.0), ("better", shift)):
            rows = []
            for number in range(n):
                logprob = noise[number].copy()
                logprob[gold[number]] += lift
                rows.append(score_row(f"q{number}", logprob.tolist(), int(gold[number])))
            path = folder / run / f"{language}.parquet"
            named = cell(language=language, model=run, settings={"candidates": "letters"})
            files.append(score_records.write(path, named, rows))
    return files


def test_differences_are_paired(tmp_path: Path) -> None:
    measured = run_comparison.measure_files(write_runs(tmp_path))
    table = run_comparison.differences(measured, "plain")
    assert set(table.run) == {"better"}
    assert set(table.language) == {"de", "sw", "mean"}
    accuracy = table[table.metric == "accuracy"].set_index("language")
    values = run_comparison.estimates(measured).pivot(index="language", columns="run", values="accuracy")
    for language in ("de", "sw"):
        expected = values.better[language] - values.plain[language]
        assert accuracy.difference[language] == pytest.approx(expected)
    assert accuracy.difference["mean"] == pytest.approx((values.better - values.plain).mean())
    assert (accuracy.low <= accuracy.difference).all()
    assert (accuracy.difference <= accuracy.high).all()
    assert (accuracy.low > 0).all()
    assert (accuracy.q < 0.05).all()
    # without pairing, the interval of the difference would combine the widths of both runs
    single = run_comparison.estimates(measured)
    single = single[single.language == "de"]
    unpaired = np.hypot(*(single.accuracy_high - single.accuracy_low))
    assert accuracy.high["de"] - accuracy.low["de"] < unpaired


def test_a_run_is_the_same_as_itself_under_another_name(tmp_path: Path) -> None:
    table = run_comparison.differences(run_comparison.measure_files(write_runs(tmp_path, shift=0)), "plain")
    assert (table[["difference", "low", "high"]] == 0).all(axis=None)
    assert (table.p == 1).all()


def test_runs_are_named_by_their_checkpoint(tmp_path: Path) -> None:
    files = [
        score_records.write(tmp_path / f"{beta}.parquet", cell(beta), [score_row("q", [-1.0, -2.0], 0)])
        for beta in ("none", "0.1")
    ]
    measured = run_comparison.measure_files(files, "sum")
    assert [file.run for file in measured] == ["llama", "llama/alpaca/paper/0.1/42"]
    assert list(run_comparison.differences(measured, "llama").run.unique()) == ["llama/alpaca/paper/0.1/42"]


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    files = write_runs(tmp_path)
    measured = run_comparison.measure_files(files)
    with pytest.raises(MeasureError, match=r"no record of run 'other'; must be one of better, plain"):
        run_comparison.differences(measured, "other")
    with pytest.raises(MeasureError, match="no other run has"):
        run_comparison.differences([file for file in measured if file.run == "plain"], "plain")
    with pytest.raises(MeasureError, match="hold the same cell: plain, mmlu-prox, texts-0shot, de"):
        run_comparison.measure_files([files[0], files[0]])

    def against(rows: list[dict[str, object]]) -> str:
        named = cell(language="de", model="better", settings={"candidates": "letters"})
        other = score_records.write(tmp_path / "other.parquet", named, rows)
        with pytest.raises(MeasureError) as error:
            run_comparison.differences(run_comparison.measure_files([files[0], other]), "plain")
        return str(error.value)

    fewer = [score_row(f"q{number}", [-1.0, -2.0, -3.0, -4.0], 0) for number in range(119)]
    assert "1 question(s) are in one of them only (such as 'q119')" in against(fewer)
    first = run_comparison.measure_files(files[:1])[0]
    golds = [score_row(name, [-1.0, -2.0, -3.0, -4.0], gold) for name, gold in first.gold.items()]
    golds[7]["gold"] = (golds[7]["gold"] + 1) % 4
    assert "the right option of question 'q7' is" in against(golds)


def test_texts_without_tokens_are_normalised_by_bytes(tmp_path: Path) -> None:
    row = score_row("q", [-4.0, -6.0], 0, option_tokens=None, option_bytes=[2, 6])
    path = score_records.write(tmp_path / "a.parquet", cell(), [row])
    [file] = run_comparison.measure_files([path])
    assert file.normalise == "byte"
    # −2 and −1 nats per byte, so the second option is chosen
    assert file.estimate[0] == 0
    with pytest.raises(MeasureError, match="needs the number of tokens"):
        run_comparison.measure_files([path], "token")


def test_numbers_of_tokens_are_in_all_rows_or_in_none(tmp_path: Path) -> None:
    rows = [score_row("a", [-1.0, -2.0], 0), score_row("b", [-1.0, -2.0], 0, option_tokens=None)]
    path = score_records.write(tmp_path / "a.parquet", cell(), rows)
    with pytest.raises(MeasureError, match="row 1: option_tokens is missing"):
        run_comparison.measure_files([path])
