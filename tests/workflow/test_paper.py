"""The jobs that the paper's grid plans on a new clone, without data, GPU, network or environment variables."""

import json
import os
import re
from dataclasses import asdict
from pathlib import Path

import pytest
from helpers import warm

from polycal.study import grid, identities
from polycal.study.config_loading import load, merge, resolve

pytestmark = pytest.mark.apart

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "config/languages.yaml", ROOT / "config/config.yaml"]


def planned(*words):
    """Rule → number of jobs in a dry run of the repository, as if no result existed."""
    environment = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    command = ["-n", "--quiet", "rules", "-c", "1", "--forceall", *words]
    ran = warm.run("snakemake.cli", command, environment, ROOT)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return {name: int(count) for name, count in re.findall(r"^(\S+) +(\d+)$", ran.stdout + ran.stderr, re.M)}


def scoring(jobs):
    return sum(count for name, count in jobs.items() if name == "score" or name.startswith("score_"))


def test_the_paper_s_grid_plans_exactly_its_jobs():
    jobs = planned()
    assert jobs["finetune"] == 3 * 3 * 3 * 4 == 108
    assert jobs["select_lr"] == 27
    assert scoring(jobs) == 30 * (29 + 42) == 2130
    assert (jobs["fetch_model"], jobs["fetch_instructions"], jobs["fetch_benchmark"]) == (3, 3, 71)


def test_more_languages_a_job_are_fewer_jobs_for_the_same_records(tmp_path):
    overlay = tmp_path / "batched.yaml"
    overlay.write_text("languages_per_job: 8\n")
    jobs = planned("--configfile", str(overlay))
    assert (jobs["finetune"], jobs["select_lr"]) == (108, 27)
    assert scoring(jobs) == 30 * (4 + 6)
    one, eight = load(FILES), load([*FILES, overlay])
    assert grid.cells(grid.blocks(one)) == grid.cells(grid.blocks(eight))


@pytest.fixture(scope="module")
def study():
    config = load(FILES)
    return config, json.loads(config.model_dump_json())


def record_cells(config):
    """Cell of the grid → the settings that determine its record, and the path of its checkpoint."""
    found = {}
    for cell in grid.cells(grid.blocks(config)):
        names = asdict(cell)
        language = names.pop("language")
        found[cell] = (identities.score(config, [language], **names), grid.checkpoint(config, **names))
    return found


def test_one_more_language_is_one_record_a_checkpoint(study):
    config, raw = study
    languages = [*raw["benchmarks"]["mmlu-prox"]["languages"], "el"]
    more = resolve(merge(raw, {"benchmarks": {"mmlu-prox": {"languages": languages}}}))
    before, after = record_cells(config), record_cells(more)
    new = set(after) - set(before)
    assert len(new) == 30
    assert {(c.benchmark, c.language) for c in new} == {("mmlu-prox", "el")}
    assert all(after[cell] == before[cell] for cell in before)
    assert grid.finetuned(more) == grid.finetuned(config)
    assert [b for b in grid.batches(more) if b not in grid.batches(config)] == [("mmlu-prox", 29, ["el"])]


def test_one_more_beta_is_its_own_cells_only(study):
    config, raw = study
    more = resolve(merge(raw, {"grid": {"betas": ["0", "0.05", "0.1", "0.2"]}}))
    before, after = record_cells(config), record_cells(more)
    assert all(after[cell] == before[cell] for cell in before)
    assert {c.beta for c in set(after) - set(before)} == {"0.05"}
    assert len(after) - len(before) == 9 * 71
    trained = set(grid.finetuned(more)) - set(grid.finetuned(config))
    assert len(trained) == 9 * 4 + 9
    assert all("/beta=0.05/" in path for path in trained)


def test_one_learning_rate_means_no_selection_job(tmp_path):
    overlay = tmp_path / "one.yaml"
    overlay.write_text(
        "recipes: {paper: {learning_rates: [1e-5]}}\n"
        "grid: {models: [gemma-2-2b], data: [alpaca], benchmarks: [global-mmlu], languages: [en, fr]}\n"
    )
    jobs = planned("--configfile", str(overlay))
    assert "select_lr" not in jobs
    assert (jobs["finetune"], scoring(jobs)) == (3, 4 * 2)
    overlay.write_text(overlay.read_text().replace("[1e-5]", "[1e-5, 5e-5]"))
    jobs = planned("--configfile", str(overlay))
    assert (jobs["select_lr"], jobs["finetune"], scoring(jobs)) == (3, 6, 4 * 2)


@pytest.mark.parametrize(
    ("name", "finetune", "select", "score"),
    [
        ("overconfidence", 4, 1, 2 * 3),
        ("smoothing", 5 * 4, 5, 6 * 42),
        ("data", 2 * 2 * 4, 2 * 2, 5 * 42),
        # the miniature versions have nine languages per job, and one learning rate except for the last
        ("mini/overconfidence", 1, 0, 2),
        ("mini/smoothing", 5, 0, 6),
        ("mini/data", 2 * 2 * 2, 2 * 2, 5),
    ],
)
def test_an_experiment_plans_its_own_jobs(name, finetune, select, score):
    files = ["config/mini.yaml"] if name.startswith("mini/") else []
    jobs = planned("--configfile", *files, f"config/experiments/{name}.yaml")
    assert (jobs["finetune"], jobs.get("select_lr", 0), scoring(jobs)) == (finetune, select, score)
