"""Cells of the invented study of ``score_records`` that have no result."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from helpers.score_records import cell
from polycal.artifacts import failures, records
from polycal.artifacts.failures import Failure
from polycal.study import paths

DIVERGED = Failure("finetune", "training diverged in step 3 of 60 at learning rate 0.01.")


def fail(folder: Path, *names: str, failure: Failure = DIVERGED) -> None:
    """Replace records of a study by failed results. Each of ``names`` has the form BETA_SEED_LANGUAGE."""
    for name in names:
        beta, seed, language = name.split("_")
        record = {"stage": "score", "cell": cell(beta, language, seed=seed)}
        failures.write(folder / f"{name}.parquet", record, failure)


def poison(path: Path) -> None:
    """Replace the first log-likelihood of a record by NaN."""
    rows, metadata = records.read_scores(path).to_pylist(), records.metadata(path)
    rows[0]["option_logprob"][0] = np.nan
    records.write(path, pa.Table.from_pylist(rows, records.SCORE), records.SCORE, metadata)


def missing(beta: str = "none", language: str = "en", **other: str) -> Path:
    """The path of a record of the study in a results folder. The file does not exist."""
    return Path(paths.SCORES.format(**cell(beta, language, **other)))
