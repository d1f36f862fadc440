"""If a cell cannot be computed, a job of a workflow writes a failed result, and another command raises an error."""

import errno
import json

import jsonschema
import pytest

from polycal import errors
from polycal.artifacts import checkpoints, failures, files, records
from polycal.artifacts.failures import Failure
from polycal.data.model_loading import ModelError
from polycal.scoring.prompts import PromptError
from polycal.store import acceptances, cache, code_versions, manifest_checks, run
from polycal.store.run import Job
from polycal.store.stages import STAGES
from polycal.training.divergence import DivergenceError

SENTENCE = "lr=1e6: training diverged in step 3 of 60."
REASON = Failure("finetune", SENTENCE)
LANGUAGES = ("en", "sw", "yo")


@pytest.fixture
def entries(monkeypatch):
    """A function that replaces the entry function of a stage."""
    found = {}
    real = run.load
    monkeypatch.setattr(run, "load", lambda name: found.get(name) or real(name))
    monkeypatch.setattr(code_versions, "check_loaded", lambda stage: None)
    return lambda stage, entry: found.update({STAGES[stage].entry: entry})


def model(folder, name="manifest.json"):
    path = folder / name
    files.write_json(path, {"stage": "fetch_model", "folder": ".", "content": "a" * 64, "files": {}})
    return path


def questions(folder, language):
    path = folder / f"{language}.parquet"
    records.write(path, [], records.QUESTION, {"stage": "fetch_benchmark", "language": language})
    return path


def training(folder, planned=True):
    stage = STAGES["finetune"]
    code = acceptances.accepted_version("finetune")[0] if planned else None
    inputs = {"model": model(folder), "instructions": questions(folder, "talks")}
    out = folder / "results/checkpoints/lr=1e6/manifest.json"
    return Job(stage, [{"stage": "finetune", "lr": "1e6"}], inputs, [out], folder / "results/.cache", code)


def scoring(folder, checkpoint, planned=True):
    code = acceptances.accepted_version("score")[0] if planned else None
    inputs = {"model": checkpoint, "questions": [questions(folder, one) for one in LANGUAGES]}
    out = [folder / f"results/scores/{one}/scores.parquet" for one in LANGUAGES]
    cells = [{"stage": "score", "language": one} for one in LANGUAGES]
    return Job(STAGES["score"], cells, inputs, out, folder / "results/.cache", code)


def diverges(cell, **_):
    raise DivergenceError(SENTENCE)


def scores(bad=(), error=PromptError):
    """An entry function that writes records and raises ``error`` for the languages ``bad``, and a list.

    The list gets the languages of each call.
    """
    calls = []

    def entry(cells, *, out, stamps, done, **_):
        calls.append([cell["language"] for cell in cells])
        for index, cell in enumerate(cells):
            if cell["language"] in bad:
                raise error(f"{cell['language']}: no room.")
            records.write(out[index], [], records.SCORE, {**stamps[index](), "language": cell["language"]})
            done(index)

    return entry, calls


def events(job):
    folder = job.cache.parent / ".events"
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return [(event["event"], event["cell"].get("language")) for event in found]


def test_a_training_that_diverges_ends_in_a_failed_result(tmp_path, entries, capsys):
    entries("finetune", diverges)
    job = training(tmp_path)
    run.run(job)
    [out] = job.out
    assert failures.read(out) == REASON
    manifest = json.loads(out.read_text())
    assert manifest_checks.problems(manifest) == []
    jsonschema.validate(manifest, manifest_checks.json_schema())
    assert manifest["cost"]["wall_seconds"] > 0
    key = cache.fingerprint(manifest["cell"], manifest["code"], manifest["reads"])
    assert manifest["fingerprint"] == key
    assert capsys.readouterr().out == f"finetune: failed: {SENTENCE}\n"
    # a failed result is not cached, and it contains its cost
    assert not cache.entry_dir(job.cache, key).exists()
    assert not list((job.cache.parent / ".attempts").glob("*"))
    assert events(job) == [("failed", None)]
    with pytest.raises(checkpoints.CheckpointError, match="no checkpoint, finetune failed: lr=1e6: training"):
        checkpoints.read(out)


def test_a_job_that_is_run_again_tries_again(tmp_path, entries):
    entries("finetune", diverges)
    job = training(tmp_path)
    run.run(job)
    entries("finetune", lambda cell, *, out, stamp, **_: files.write_json(out, stamp() | {"lr": "1e6"}))
    run.run(job)
    assert failures.read(job.out[0]) is None


def test_a_command_that_no_workflow_planned_fails(tmp_path, entries):
    entries("finetune", diverges)
    job = training(tmp_path, planned=False)
    with pytest.raises(DivergenceError, match="diverged"):
        run.run(job)
    assert not job.out[0].exists()


@pytest.mark.parametrize(
    "cause",
    [
        OSError(errno.ESTALE, "stale file handle"),
        RuntimeError("CUDA error: an illegal memory access"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
        ImportError("no flash_attn"),
    ],
)
def test_what_the_machine_causes_is_no_failed_result(tmp_path, entries, cause):
    def breaks(cell, **_):
        raise ModelError("m: cannot be loaded.") from cause

    entries("finetune", breaks)
    job = training(tmp_path)
    with pytest.raises(ModelError):
        run.run(job)
    assert not job.out[0].exists()
    [attempt] = (job.cache.parent / ".attempts").glob("*/*.json")
    assert "ended" in json.loads(attempt.read_text())

    # the failed result of the next attempt counts the failed attempt
    entries("finetune", diverges)
    run.run(job)
    assert json.loads(job.out[0].read_text())["attempts"]["failed"] == 1


def test_what_a_library_refuses_is_final_and_what_the_machine_refuses_behind_it_is_not():
    def refused(*behind):
        """A ModelError whose cause is an OSError of transformers, which was raised while ``behind`` was handled."""
        outer = OSError("no file named pytorch_model.bin")
        for inner, cause in zip((outer, *behind), behind, strict=False):
            inner.__context__ = cause
        error = ModelError("m: cannot be loaded.")
        error.__cause__ = outer
        return error

    assert errors.is_final(refused())
    assert errors.is_final(refused(FileNotFoundError(errno.ENOENT, "no such file")))
    assert errors.is_final(refused(ImportError("no flash_attn")))
    assert not errors.is_final(refused(KeyError("weight"), OSError(errno.EIO, "input/output error")))
    assert not errors.is_final(checkpoints.CheckpointError("a file is missing."))


def test_an_error_of_another_stage_is_no_failed_result(tmp_path, entries):
    entries("check_parallel", diverges)
    code = acceptances.accepted_version("check_parallel")[0]
    out = tmp_path / "parallel.json"
    job = Job(STAGES["check_parallel"], [{}], {"questions": [questions(tmp_path, "en")]}, [out], None, code)
    with pytest.raises(DivergenceError):
        run.run(job)
    assert not out.exists()


def test_records_of_a_failed_checkpoint_fail_with_its_reason_and_nothing_is_computed(
    tmp_path, entries, capsys
):
    entry, calls = scores()
    entries("score", entry)
    checkpoint = tmp_path / "failed.json"
    failures.write(checkpoint, {"fingerprint": "b" * 64}, REASON)
    job = scoring(tmp_path, checkpoint)
    run.run(job)
    assert calls == []
    assert [failures.read(out) for out in job.out] == [REASON] * 3
    manifest = records.metadata(job.out[0])
    assert manifest_checks.problems(manifest) == []
    assert manifest["reads"]["model"] == "b" * 64
    assert f"score: not computed, because finetune failed: {SENTENCE}" in capsys.readouterr().out

    # another failure of the checkpoint changes the fingerprint; a checkpoint that exists is scored
    failures.write(checkpoint, {"fingerprint": "c" * 64}, REASON)
    run.run(job)
    assert records.metadata(job.out[0])["fingerprint"] != manifest["fingerprint"]
    run.run(scoring(tmp_path, model(tmp_path, checkpoint.name)))
    assert calls == [list(LANGUAGES)]
    assert [failures.read(out) for out in job.out] == [None] * 3


def test_a_command_on_a_failed_checkpoint_says_why_in_a_sentence(tmp_path, entries):
    checkpoint = tmp_path / "failed.json"
    failures.write(checkpoint, {"fingerprint": "b" * 64}, REASON)
    with pytest.raises(checkpoints.CheckpointError, match="no checkpoint, finetune failed"):
        run.run(scoring(tmp_path, checkpoint, planned=False))


@pytest.mark.parametrize("bad", [["sw"], ["en"], ["en", "yo"], list(LANGUAGES)])
def test_questions_that_cannot_be_asked_fail_their_own_language_only(tmp_path, entries, bad):
    entry, calls = scores(bad)
    entries("score", entry)
    job = scoring(tmp_path, model(tmp_path))
    run.run(job)
    found = dict(zip(LANGUAGES, map(failures.read, job.out), strict=True))
    assert {name: failure.reason for name, failure in found.items() if failure} == {
        name: f"{name}: no room." for name in bad
    }
    assert sorted(events(job)) == sorted(
        ("failed" if name in bad else "computed", name) for name in LANGUAGES
    )
    assert not list((job.cache.parent / ".attempts").glob("*/*.json"))
    # results are restored, and failed cells are tried again
    calls.clear()
    run.run(job)
    assert {name for call in calls for name in call} == set(bad)


def test_a_model_that_fails_costs_what_was_not_scored_yet(tmp_path, entries):
    entry, calls = scores(["sw"], ModelError)
    entries("score", entry)
    job = scoring(tmp_path, model(tmp_path))
    run.run(job)
    assert calls == [list(LANGUAGES)]
    assert [failures.read(out) is None for out in job.out] == [True, False, False]


def test_records_that_fail_outside_of_a_workflow_fail_together(tmp_path, entries):
    entry, calls = scores(["sw"])
    entries("score", entry)
    with pytest.raises(PromptError, match="sw: no room"):
        run.run(scoring(tmp_path, model(tmp_path), planned=False))
    assert calls == [list(LANGUAGES)]


def test_the_schema_wants_a_reason(tmp_path):
    manifest = {"stage": "score", "status": "failed", "failure": {"stage": "score"}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(manifest, manifest_checks.json_schema())
    problems = manifest_checks.problems(manifest)
    assert any("failure.reason" in problem for problem in problems)
    assert any("schema at fingerprint" in problem for problem in problems)
