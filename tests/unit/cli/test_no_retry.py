"""Errors that no further try of a Slurm job can mend are marked for the executor."""

import errno

import pytest

from polycal import errors
from polycal.artifacts.checkpoints import CheckpointError
from polycal.cli import app
from polycal.data.hub import UnreachableError
from polycal.data.model_loading import ModelError
from polycal.store.code_versions import VersionError
from polycal.store.locks import LockError
from polycal.training.finetune import RankCellError, RankError
from polycal.training.launcher import LaunchError
from polycal.vocabulary import NO_RETRY


def caused(error, cause):
    error.__cause__ = cause
    return error


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (VersionError("x"), True),
        (CheckpointError("x"), True),
        (ModelError("x"), True),
        (RankError("x"), False),
        (RankCellError("x"), False),
        (LaunchError("x"), False),
        (LockError("x"), False),
        (UnreachableError("x"), False),
        (caused(ModelError("x"), FULL), False),
        (caused(ModelError("x"), ImportError("x")), False),
        (ValueError("x"), False),
        (FULL, False),
    ],
)
def test_what_needs_a_person(error, expected):
    assert errors.needs_a_person(error) is expected


def said(monkeypatch, error):
    def fail():
        raise error

    monkeypatch.setattr(app, "app", fail)
    with pytest.raises(SystemExit) as ended:
        app.main()
    return str(ended.value)


def test_the_mark_names_the_job_and_is_there_in_slurm_jobs_only(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert said(monkeypatch, VersionError("Wrong.")) == "polycal: Wrong."
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert said(monkeypatch, VersionError("Wrong.")) == f"polycal: Wrong.\n{NO_RETRY.format(12)}"
    assert said(monkeypatch, LaunchError("Later.")) == "polycal: Later."


def test_a_file_of_another_user_is_a_sentence(monkeypatch):
    sentence = said(monkeypatch, PermissionError(errno.EACCES, "Permission denied", "results/x"))
    assert sentence.startswith("polycal: results/x: Permission denied; work as the user who owns the folder")
    assert "\n" not in sentence
