"""Failed results are read as failures, and never mistaken for a result."""

import pytest

from polycal.artifacts import checkpoints, failures, files, records
from polycal.artifacts.failures import Failure

FAILURE = Failure("finetune", "training diverged in step 3 of 60 at learning rate 1e+06.")


@pytest.mark.parametrize("name", ["manifest.json", "language=en.parquet"])
def test_a_failed_result_is_read_back(tmp_path, name):
    path = tmp_path / name
    failures.write(path, {"stage": "score", "cell": {"model": "a"}}, FAILURE)
    assert failures.read(path) == FAILURE


def test_a_result_is_not_a_failure(tmp_path):
    files.write_json(tmp_path / "manifest.json", {"stage": "finetune"})
    records.write(tmp_path / "a.parquet", [], records.SCORE, {"stage": "score"})
    assert failures.read(tmp_path / "manifest.json") is None
    assert failures.read(tmp_path / "a.parquet") is None


def test_a_failed_result_is_never_read_as_a_record_or_checkpoint(tmp_path):
    failures.write(tmp_path / "a.parquet", {}, FAILURE)
    failures.write(tmp_path / "manifest.json", {}, FAILURE)
    with pytest.raises(records.RecordError):
        records.read_scores(tmp_path / "a.parquet")
    with pytest.raises(checkpoints.CheckpointError):
        checkpoints.read(tmp_path / "manifest.json")
