"""A training that diverges, and a job that is killed repeatedly. The rest of the study is computed nevertheless."""

import json
import sys
from pathlib import Path

import pytest
import yaml
from helpers import models, workflow

from polycal.artifacts import failures

pytestmark = pytest.mark.apart

CHECKPOINTS = "results/checkpoints/model=tiny/base_seed=none/data=talks/recipe={}/beta=0.1/seed=1"
RECORDS = "results/scores/model=tiny/base_seed=none/data={}/recipe={}/beta={}/seed={}/benchmark=asked/protocol=letters-0shot/language=en/scores.parquet"
BASE = RECORDS.format("none", "none", "none", "none")
BRIEF, WILD = (RECORDS.format("talks", recipe, "0.1", "1") for recipe in ("brief", "wild"))
DIVERGED = [f"{CHECKPOINTS.format('brief')}/lr=1000000", f"{CHECKPOINTS.format('wild')}/lr=100000000000"]
PAGE = "results/studies/holes/report.html"


class Study:
    """A study of two recipes.

    In ``brief`` one of two learning rates diverges. In ``wild`` the only learning rate diverges.
    """

    def __init__(self, folder):
        self.folder = folder
        models.save("llama", folder / "model")
        talks = [{"instruction": f"say {n}", "input": "", "output": "yes " * (n % 3 + 1)} for n in range(24)]
        (folder / "talks.jsonl").write_text("".join(json.dumps(talk) + "\n" for talk in talks))
        asked = [
            {"question_id": n, "question": f"{n}?", "options": ["a", "b"], "gold": n % 2} for n in range(6)
        ]
        (folder / "questions").mkdir()
        (folder / "questions/en.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
        recipe = {"epochs": 2, "warmup_ratio": 0, "global_batch_size": 4, "micro_batch_size": 4}
        recipe |= {"learning_rates": ["1e-2", "1e6"], "max_length": 128, "precision": "float32"}
        self.config = {
            "study": "holes",
            "models": {"tiny": {"path": "model", "dtype": "float32"}},
            "data": {"talks": {"path": "talks.jsonl", "format": "alpaca", "language": "en", "heldout": 0.25}},
            "benchmarks": {"asked": {"path": "questions", "format": "file", "languages": ["en"]}},
            "recipes": {"brief": recipe, "wild": {**recipe, "learning_rates": ["1e11"]}},
            "protocols": {"letters-0shot": {"candidates": "letters"}},
            "grid": {
                "models": ["tiny"], "data": ["talks"], "recipes": ["brief", "wild"], "betas": [0.1], "seeds": [1],
                "benchmarks": ["asked"], "protocols": ["letters-0shot"],
            },
            "measure": {"bootstrap_samples": 20},
        }  # fmt: skip
        self.programs = ""

    def run(self, *words):
        """Run the workflow. Returns its exit status and output."""
        (self.folder / "study.yaml").write_text(yaml.safe_dump(self.config))
        files = [self.folder / "study.yaml"]
        ran = workflow.snakemake(self.folder, "-k", *words, configuration=files, programs=self.programs)
        assert not list(self.folder.glob("results/.*.lock"))
        return ran.returncode, ran.stdout + ran.stderr

    def events(self, kind):
        found = [json.loads(path.read_text()) for path in sorted((self.folder / "results/.events").iterdir())]
        return [event["stage"] for event in found if event["event"] == kind]

    def failure(self, name):
        return failures.read(self.folder / name)


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


def names_the_holes(output):
    """Assert that each failed training is listed with its reason, and the record that is lost. Returns True."""
    assert "3 results have failed and would fail again as they are; all others" in output
    for folder in DIVERGED:
        assert output.count(f"finetune: {folder}: training diverged in step 2 of 10 at learning rate") == 1
        assert f"    {folder}/manifest.json\n" in output
    assert "the last finite loss was " in output
    assert f"    {WILD}\n" in output
    return True


def test_a_training_that_diverges_is_a_hole_and_the_records_of_all_others_are_made(study):
    targets = [BASE, BRIEF, WILD]
    status, output = study.run("--", *targets)
    assert (status, names_the_holes(output)) == (1, True)
    assert "At least one job did not complete" not in output
    assert sorted(study.events("failed")) == ["finetune", "finetune", "score"]
    assert sorted(study.events("computed")).count("score") == 2
    assert study.failure(BASE) is None
    assert study.failure(BRIEF) is None
    assert study.failure(WILD) == study.failure(f"{DIVERGED[1]}/manifest.json")
    chosen = json.loads((study.folder / CHECKPOINTS.format("brief") / "selected.json").read_text())
    assert chosen["lr"] == "0.01"
    assert chosen["failed"] == {"1000000": study.failure(f"{DIVERGED[0]}/manifest.json").reason}
    # another run without a change computes nothing; neither does a dry run, and both succeed
    for words in ([], ["-n"]):
        status, output = study.run(*words, "--", *targets)
        assert (status, "Nothing to be done" in output) == (0, True), output

    # lower learning rates give a checkpoint for ``wild``, and another selection for ``brief``
    study.config["recipes"]["wild"]["learning_rates"] = ["1e-2"]
    study.config["recipes"]["brief"]["learning_rates"] = ["1e-2", "1e-9"]
    status, output = study.run("--", *targets)
    assert (status, "have failed" in output) == (0, False), output
    assert [study.failure(path) for path in targets] == [None] * 3


def test_a_study_with_holes_has_its_page_and_says_so_at_every_end(study):
    status, output = study.run()
    assert (status, names_the_holes(output)) == (1, True)
    page = study.folder / PAGE
    assert "training diverged in step 2 of 10" in page.read_text()
    before, made = len(study.events("computed")), page.stat().st_mtime_ns
    status, output = study.run()
    assert (status, names_the_holes(output)) == (1, True)
    assert (len(study.events("computed")), page.stat().st_mtime_ns) == (before, made)
    assert sorted(study.events("failed")) == ["finetune", "finetune", "score"]
    status, output = study.run("-n")
    assert (status, "Nothing to be done" in output) == (0, True)

    study.config["recipes"]["wild"]["learning_rates"] = ["1e-2"]
    study.config["recipes"]["brief"]["learning_rates"] = ["1e-2", "1e-9"]
    status, output = study.run()
    assert (status, "have failed" in output) == (0, False), output
    assert "training diverged" not in page.read_text()
    status, output = study.run()
    assert (status, "Nothing to be done" in output) == (0, True)


def test_a_job_that_is_killed_again_and_again_costs_its_own_record_only(study):
    study.config["recipes"]["brief"]["learning_rates"] = ["1e-2"]
    study.config["grid"]["recipes"] = ["brief"]
    # the job that scores the checkpoint is killed, as if it exceeded its memory
    bin = study.folder / "bin"
    bin.mkdir()
    killed = f'case "$*" in *score*{BRIEF}*) kill -9 $$ ;; esac\n'
    (bin / "polycal").write_text(f'#!/bin/sh\n{killed}exec {Path(sys.executable).parent}/polycal "$@"\n')
    (bin / "polycal").chmod(0o755)
    study.programs = str(bin)
    status, output = study.run("--retries", "1")
    assert status == 1
    assert (
        output.count("1 result is missing; start again to try once more, or give the target 'partial'") == 1
    )
    assert f"    {BRIEF}\n" in output
    assert not (study.folder / PAGE).exists()

    status, output = study.run("--", "partial")
    assert status == 0, output
    assert "its record is missing" in (study.folder / "results/studies/holes-partial/report.html").read_text()

    study.programs = ""
    status, output = study.run()
    assert status == 0, output
    assert (study.folder / PAGE).exists()
    assert study.events("computed").count("score") == 2


def test_a_file_that_cannot_be_read_is_read_once_whatever_the_retries(study):
    questions = study.folder / "questions/en.jsonl"
    questions.write_text(questions.read_text().replace('"gold"', '"golden"'))
    output = "resources/benchmarks/asked/en.parquet"
    status, said = study.run("--retries", "2", "--", output)
    assert (status, said.count("Error in rule fetch_benchmark")) == (1, 1)
    assert "Trying to restart" not in said
    assert not (study.folder / output).exists()
