"""The stage ``measure_groups`` measures the groups of a study's records, and leaves means empty that lack a language."""

import json
from pathlib import Path

import pandas as pd
import pytest
from helpers import holes, score_records
from helpers.stamps import FixedStamp
from helpers.studies import BASE

from polycal.analysis import group_calibration, group_tables, run_comparison, usable_records
from polycal.analysis.score_arrays import MeasureError
from polycal.artifacts import records
from polycal.study import grid, identities
from polycal.study.config_loading import merge, resolve

SETTINGS = {**score_records.SETTINGS, "bootstrap_samples": run_comparison.SAMPLES}


def groups_of(files: list[Path], out: Path, missing: tuple[Path, ...] = ()) -> pd.DataFrame:
    cell = {"settings": SETTINGS}
    group_tables.measure_groups(cell, scores=files, missing=missing, out=out, stamp=FixedStamp())
    return pd.read_parquet(out / "groups.parquet")


def test_the_values_are_those_of_the_command(tmp_path: Path) -> None:
    files = score_records.runs(tmp_path / "scores")
    table = groups_of(files, tmp_path)
    direct = group_calibration.by_group(files).rename(columns={"run": "model"})
    shown = [name for name in direct if name in table]
    assert {"ece_low", "accuracy_high", "ece_floor", "n"} < set(shown)
    keys = ["model", "language", "group"]
    pd.testing.assert_frame_equal(
        table[shown].sort_values(keys, ignore_index=True),
        direct[shown].sort_values(keys, ignore_index=True),
        check_exact=True,
    )
    assert records.metadata(tmp_path / "groups.parquet")["table"] == "groups"


def test_a_form_without_a_normalisation_is_measured_too(tmp_path: Path) -> None:
    """P(True) has no length, so the study says no normalisation for it. Three of four answers are right."""
    rows = [score_records.score_row(f"q{number}", [-0.1, -2.0], int(number % 4 == 0)) for number in range(8)]
    cell = score_records.cell(settings={"candidates": "true_letters"})
    table = groups_of([score_records.write(tmp_path / "en/scores.parquet", cell, rows)], tmp_path)
    assert set(table.language) == {"en", "mean"}
    assert table.accuracy[table.language == "en"].tolist() == [0.75] * sum(table.language == "en")


def test_a_mean_that_lacks_a_language_is_empty(tmp_path: Path) -> None:
    files = score_records.runs(tmp_path / "scores", n=20)
    cell = records.metadata(files[0])["cell"]
    whole = groups_of(files, tmp_path / "whole")
    holes.failures.write(files[0], {"stage": "score", "cell": cell}, holes.DIVERGED)
    table = groups_of(files, tmp_path / "lost")
    small = table[(table.model == "small") & (table.language == "mean")]
    assert small.holes.tolist() == [1, 1]
    assert small[["ece", "ece_low", "gap", "accuracy", "ece_floor"]].isna().all(axis=None)
    kept = ["model", "language", "group"]
    rest = whole[(whole.model == "large") | whole.language.isin(["en", "gsw"])]
    other = table[(table.model == "large") | table.language.isin(["en", "gsw"])]
    pd.testing.assert_frame_equal(
        other.sort_values(kept, ignore_index=True),
        rest.sort_values(kept, ignore_index=True),
        check_exact=True,
    )
    assert "de" not in set(table[table.model == "small"].language)
    checksums = group_tables.input_checksums({}, scores=files)
    assert checksums == usable_records.checksums(group_tables.KIND, files)


def test_records_that_are_all_failed_are_refused(tmp_path: Path) -> None:
    [file] = score_records.runs(tmp_path, ("m",), ("en",), n=8)
    holes.failures.write(file, {"stage": "score", "cell": records.metadata(file)["cell"]}, holes.DIVERGED)
    with pytest.raises(MeasureError, match="none of the 1 records can be measured"):
        groups_of([file], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_study_is_measured_by_group_only_if_it_says_so() -> None:
    off, on = resolve(BASE), resolve(merge(BASE, {"by_group": True}))
    cells = [json.loads(identities.measure_groups(config)) for config in (off, on)]
    assert grid.grouped_records(cells[0]) == []
    measured = json.loads(identities.measure(on))
    assert grid.grouped_records(cells[1]) == grid.score_records(measured)
    # the key changes no other measurement
    assert identities.measure(off) == identities.measure(on)
