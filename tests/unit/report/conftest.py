"""An invented study that is measured once for all tests of the report."""

from dataclasses import replace

import pandas as pd
import pytest
from helpers import generations, measured, score_records
from helpers.stamps import FixedStamp

from polycal.analysis import generation_table, record_checks, record_tables
from polycal.report import study_tables
from polycal.report.study_tables import BetaSweep

NAMES = {"en": "English", "de": "German", "hi": "Hindi", "yo": "Yorùbá <b>"}


@pytest.fixture(scope="session")
def sweep():
    """The sweep of the study's tuned checkpoints."""
    return BetaSweep("llama", "none", "alpaca", "paper", "42", "mmlu-prox", "texts-0shot")


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory):
    """A folder with the measured tables; the score records are in its folder ``scores``."""
    folder = tmp_path_factory.mktemp("study")
    truth = score_records.write_truth(folder / "truth")
    files = score_records.study(folder / "scores")
    measured.write_tables(files, folder, {**score_records.SETTINGS, "truth": truth})
    return folder


@pytest.fixture(scope="session")
def study(study_folder):
    """The tables of the study: a base model and two tuned models (β = 0 and 0.1) in four languages."""
    return study_tables.read(study_folder, NAMES)


@pytest.fixture(scope="session")
def generation_tables(tmp_path_factory):
    """The tables of answers that a base model and two tuned models (β = 0 and 0.1) generate in two languages."""
    folder = tmp_path_factory.mktemp("generation")
    files = generations.study(folder, tuned=[("0", "1"), ("0.1", "1")])
    generation_table.measure_generation(
        {"settings": generations.SETTINGS},
        generations=files,
        clusters=[generations.cluster(file.with_suffix(".clusters"), file) for file in files],
        out=folder / "out",
        stamp=FixedStamp(),
    )
    return {path.stem: pd.read_parquet(path) for path in (folder / "out").glob("*.parquet")}


@pytest.fixture(scope="session")
def generated_study(study, generation_tables):
    """The tables of the study, and those of generated answers of another model."""
    return replace(study, tables={**study.tables, **generation_tables})


@pytest.fixture(scope="session")
def two_seeds(tmp_path_factory):
    """The tables of the same study with two training seeds."""
    folder = tmp_path_factory.mktemp("seeds")
    measured.write_tables(score_records.study(folder / "scores", n=60, seeds=("1", "2")), folder)
    return study_tables.read(folder, NAMES)


@pytest.fixture(scope="session")
def run_records(tmp_path_factory):
    """Score records of two untuned models in three languages, the last of which has no known name and level."""
    return score_records.runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def runs_study(run_records):
    """The tables of these records, which belong to no grid."""
    found = record_checks.check(run_records)
    return study_tables.StudyTables(record_tables.record_tables(found, {"de": "high", "en": "high"}), NAMES)


@pytest.fixture(scope="session")
def probed_study():
    """Invented tables of further model runs: three mixtures of one data set, embeddings, next tokens."""
    return _probed_study()


def _probed_study():
    sets = (
        ("none", "none"),
        ("t-english", "0"),
        ("t-natural", "0"),
        ("t-balanced", "0"),
        ("t-balanced", "0.1"),
    )
    keys = ("model", "base_seed", "data", "recipe", "beta", "seed", "benchmark", "protocol", "language")
    rows = []
    for number, (data, beta) in enumerate(sets):
        for position, language in enumerate(("en", "yo")):
            tuned = ("r", beta, "1") if data != "none" else ("none", "none", "none")
            value = 0.1 + number / 100 + position / 50
            row = dict(zip(keys, ("m", "0", data, *tuned, "b", "p", language), strict=True))
            numbers = dict.fromkeys(("ece", "gap", "smallest_shrunk", "accuracy", "confidence"), value)
            ends = {f"{metric}{end}": value for metric in ("ece", "gap") for end in ("_low", "_high")}
            rows.append({**row, **numbers, **ends, "resource": "high", "ece_floor": 0.01})
    cells = pd.DataFrame(rows)
    tables = {"cells": cells, "diversity": cells[[*keys, "smallest_shrunk"]]}
    next_token = cells.assign(language="all", benchmark="h")[::2]
    return study_tables.StudyTables({**tables, "next_token": next_token}, {})
