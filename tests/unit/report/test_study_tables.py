"""Reading a study, its sweeps of β, and the names of its parts."""

import pandas as pd
import pytest

from polycal.report import study_tables
from polycal.report.study_tables import BetaSweep, StudyTables


def test_a_folder_without_measured_tables_is_refused(tmp_path):
    with pytest.raises(
        study_tables.StudyError, match=r"cells\.parquet is missing; run 'polycal measure' first"
    ):
        study_tables.read(tmp_path, {})


def test_a_sweep_contains_its_base_and_every_beta(study, sweep):
    assert study.beta_sweeps() == [sweep]
    assert study_tables.setting_names(study.rows("cells", sweep)) == ["base", "β = 0", "β = 0.1"]
    assert study_tables.languages_in_order(study["cells"]) == ["de", "en", "hi", "yo"]


def test_sweeps_of_another_benchmark_or_protocol_are_left_out(study, sweep):
    assert study.beta_sweeps(sweep.benchmark, sweep.protocol) == [sweep]
    assert study.beta_sweeps(sweep.benchmark, "letters-0shot") == []


def test_a_sweep_belongs_to_the_base_model_of_its_own_pre_training_seed():
    keys = ("model", "base_seed", "data", "recipe", "beta", "seed", "benchmark", "protocol")
    rows = [
        ("m", seed, *tuned, "b", "p")
        for seed in ("0", "1")
        for tuned in (("none",) * 4, ("d", "r", "0", "7"))
    ]
    study = StudyTables({"cells": pd.DataFrame(rows, columns=keys)}, {})
    first, second = study.beta_sweeps()
    assert (first.base_seed, second.base_seed) == ("0", "1")
    assert set(study.rows("cells", second).base_seed) == {"1"}
    assert list(study.rows("cells", second).setting) == ["base", "β = 0"]
    assert study_tables.distinguishing(study["cells"]) == ["base_seed"]
    assert "base_seed" in study_tables.without_single_base_seed(study["cells"])
    one = study["cells"][study["cells"].base_seed == "0"]
    assert "base_seed" not in study_tables.without_single_base_seed(one)


def test_a_study_without_contrasts_has_no_smoothing_contrasts():
    sweep = BetaSweep("m", "none", "d", "r", "1", "b", "p")
    assert StudyTables({}, {}).smoothing_contrasts(sweep).empty
