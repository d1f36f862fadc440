"""The tables of score records without a grid have the values of the study's tables and of ``polycal measure``."""

from pathlib import Path

import numpy as np
import pandas as pd
from helpers import measured, score_records

from polycal.analysis import group_calibration, record_checks, record_tables, run_comparison
from polycal.vocabulary import CELL_KEYS

KEYS = list(CELL_KEYS)


def tables(files: list[Path], reference: str | None = None) -> dict[str, pd.DataFrame]:
    found = record_checks.check(files)
    return record_tables.record_tables(found, score_records.LANGUAGES, reference)


def test_the_values_are_those_of_the_stage_with_the_same_settings(tmp_path: Path) -> None:
    files = score_records.study(tmp_path / "scores", 40, languages=("en", "yo"))
    settings = {**score_records.SETTINGS, "bootstrap_samples": run_comparison.SAMPLES}
    measured.write_tables(files, tmp_path / "study", settings)
    found = tables(files)
    for name in ("cells", "diagnostics", "reliability", "means", "contrasts"):
        stage = pd.read_parquet(tmp_path / "study" / f"{name}.parquet")
        pd.testing.assert_frame_equal(found[name], stage, check_dtype=False, obj=name)
    assert sorted(found["records"].path) == sorted(map(str, files))


def test_untuned_runs_are_compared_with_each_other(tmp_path: Path) -> None:
    files = score_records.runs(tmp_path)
    found = tables(files)
    contrasts = found["contrasts"]
    assert set(contrasts.contrast) == {record_tables.RUN_MINUS_RUN}
    assert set(zip(contrasts.model, contrasts.reference, strict=True)) == {
        ("small", "large"),
        ("large", "small"),
    }
    direct = run_comparison.differences(run_comparison.measure_files(files), "small")
    own = contrasts[contrasts.reference == "small"].rename(columns={"model": "run"})
    shown = ["run", "language", "metric", "difference", "low", "high", "p", "q"]
    np.testing.assert_array_equal(
        own[shown].sort_values(shown[:3]).to_numpy(), direct[shown].sort_values(shown[:3]).to_numpy()
    )
    assert set(contrasts.languages) == {3}
    # a language without a known level is in the mean over all languages only
    means = found["means"].set_index(["model", "group"])
    assert set(means.index) == {(model, group) for model in ("small", "large") for group in ("all", "high")}
    assert means.languages["small", "all"] == 3
    assert found["cells"].set_index(["model", "language"]).resource["small", "gsw"] == record_tables.NO_LEVEL


def test_many_runs_are_compared_with_the_given_one_only(tmp_path: Path) -> None:
    names = tuple(f"m{number}" for number in range(record_tables.MANY_RUNS + 1))
    files = score_records.runs(tmp_path, names, ("en",), n=8)
    assert tables(files)["contrasts"].empty
    contrasts = tables(files, "m3")["contrasts"]
    assert set(contrasts.reference) == {"m3"}
    assert set(contrasts.model) == set(names) - {"m3"}


def test_a_tuned_run_is_compared_with_another_model_only_on_request(tmp_path: Path) -> None:
    files = score_records.study(tmp_path, 20, languages=("en",))
    assert record_tables.RUN_MINUS_RUN not in set(tables(files)["contrasts"].contrast)
    contrasts = tables(files, "llama/alpaca/paper/0/42")["contrasts"]
    runs = contrasts[contrasts.contrast == record_tables.RUN_MINUS_RUN]
    assert set(runs.beta) == {"none", "0.1"}


def test_groups_are_those_of_the_command(tmp_path: Path) -> None:
    files = score_records.runs(tmp_path)
    groups = tables(files)["groups"]
    direct = group_calibration.by_group(files)
    assert len(groups) == len(direct) == 2 * 2 * (3 + 1)
    keys, metrics = ["language", "group"], ["n", "ece", "ece_low", "ece_high", "ece_floor"]
    own = groups[groups.model == "small"].set_index(keys)[metrics]
    assert own.sort_index().equals(direct[direct.run == "small"].set_index(keys)[metrics].sort_index())
    assert (groups.ece_floor_high > groups.ece_floor).all()
    assert groups[groups.language == "mean"].languages.eq(3).all()
    assert not groups.holes.any()
