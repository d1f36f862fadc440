"""Exactly the changed cells: what an edit plans in a dry run, and what is then computed (the journal says)."""

import shutil
from collections import Counter

import pytest
import yaml
from hub import Hub
from world import World

NOTHING = Counter()
ALL_SCORES = {"score": 3}
BELOW = {"measure": 1, "present": 1}
TRAINING = {"finetune": 2, "score": 2, **BELOW}
OTHER = "f" * 40


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("reruns") / "whole", Hub()).build()
    world.hub.commits.add(OTHER)
    assert world.run() == {
        "fetch_model": 1, "fetch_instructions": 1, "fetch_benchmark": 2, "finetune": 2, "score": 6, "measure": 1,
    }  # fmt: skip
    assert world.planned() == NOTHING
    return world


@pytest.fixture
def world(prepared, tmp_path):
    return prepared.copy(tmp_path / "copy")


EDITS = {
    "a comment in scoring": ("src/polycal/scoring.py", "\nimport", "\n# why\nimport", {}),
    "a docstring in scoring": ("src/polycal/scoring.py", '"""', '"""Other words. ', {}),
    "a format change in scoring": ("src/polycal/scoring.py", "\nimport", "\n\n\nimport", {}),
    "scoring": ("src/polycal/scoring.py", "\nimport", "\nEDITED = 1\nimport", {**ALL_SCORES, **BELOW}),
    "calibration": ("src/polycal/calibration.py", "\nfrom", "\nEDITED = 1\nfrom", BELOW),
    "figures": ("src/polycal/figures.py", "\nfrom", "\nEDITED = 1\nfrom", {"present": 1}),
    "the report's template": ("src/polycal/templates/report.html.j2", "<body>", "<body >", {"present": 1}),
    "smoothing": ("src/polycal/smoothing.py", "\nimport", "\nEDITED = 1\nimport", TRAINING),
    "a training dependency": ("envs/cpu.lock", "\ntrl==", "\ntrl==9", TRAINING),
    "a plotting dependency": ("envs/cpu.lock", "\nseaborn==", "\nseaborn==9", {"present": 1}),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_plans_what_depends_on_it(world, edit):
    file, old, new, expected = EDITS[edit]
    world.edit(file, old, new)
    assert world.planned() == expected


SETTINGS = {
    "β 0.1 to 0.15": ({"grid.betas": [0, 0.15]}, {"finetune": 1, "score": 1, **BELOW}),
    "two values swapped": ({"recipes.brief.epochs": 1, "recipes.brief.clip": 2}, TRAINING),
    "number of bins": ({"measure.bins": 7}, BELOW),
    "GPUs, ZeRO stage and memory": (
        {"models.own": {"path": "model", "dtype": "float32", "training_gpus": 4, "zero_stage": 3, "scoring_gpus": 2,
                        "training_memory_mb": 999}}, {}),
    "another spelling": ({"grid.betas": ["0.0", ".10"], "recipes.brief.learning_rates": [0.001]}, {}),
    "revision of the instructions": ({"data.talks.revision": OTHER}, {"fetch_instructions": 1, **TRAINING}),
}  # fmt: skip


@pytest.mark.parametrize("change", SETTINGS)
def test_a_setting_plans_what_depends_on_it(world, change):
    changes, expected = SETTINGS[change]
    world.configure(changes)
    assert world.planned() == expected


def test_partition_and_threads_plan_nothing(world):
    words = ["--set-threads", "finetune=2", "--default-resources", "slurm_partition=other"]
    assert world.planned(*words) == NOTHING


def test_key_order_and_comments_of_yaml_plan_nothing(world):
    study = yaml.safe_load((world.work / "study.yaml").read_text())

    def turned(value):
        return {k: turned(value[k]) for k in reversed(value)} if isinstance(value, dict) else value

    text = "# a comment\n" + yaml.safe_dump(turned(study), sort_keys=False)
    (world.work / "study.yaml").write_text(text)
    assert world.planned() == NOTHING


def test_touching_every_file_plans_nothing(world):
    for path in world.work.parent.rglob("*"):
        if path.is_file() and ".snakemake" not in path.parts:
            path.touch()
    assert world.planned() == NOTHING


def test_a_fresh_clone_over_existing_results_plans_nothing(world):
    source = world.code.with_name("before")
    world.code.rename(source)
    shutil.copytree(source, world.code, copy_function=shutil.copy)
    assert world.planned() == NOTHING


def test_a_copy_without_metadata_computes_nothing(world):
    shutil.rmtree(world.work / ".snakemake")
    for path in world.work.joinpath("resources").rglob("*.*"):
        path.touch()
    assert world.planned()["finetune"] == 2
    assert world.run() == NOTHING
    assert world.planned() == NOTHING


def test_a_deleted_record_is_missed_and_handed_out(world):
    next(world.work.glob("results/scores/**/language=yo/scores.parquet")).unlink()
    assert world.planned() == {"score": 1, **BELOW}
    assert world.run() == NOTHING


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("languages", [["en", "yo", "sw"], ["en", "sw", "yo"], ["en"]])
def test_of_languages_only_the_added_are_computed(world, size, languages):
    world.configure({"languages_per_job": size})
    assert world.run() == NOTHING  # regrouped only
    world.configure({"languages_per_job": size, "benchmarks.mine.languages": languages})
    planned = world.planned()
    if size == 1:
        assert planned["score"] == (3 if "sw" in languages else 0)
    added = {"fetch_benchmark": 1, "score": 3} if "sw" in languages else {}
    assert world.run() == {**added, "measure": 1}
    assert world.planned() == NOTHING


def test_a_changed_question_computes_its_language_only(world):
    world.ask("yo", "What of {}?")
    assert world.planned()["fetch_benchmark"] == 1
    assert world.run() == {"fetch_benchmark": 1, "score": 3, "measure": 1}


def test_switching_overlays_and_back_computes_nothing(world):
    (world.work / "over.yaml").write_text("measure: {bins: 5}\ngrid: {betas: [0]}\n")
    assert world.run(overlays=("over.yaml",)) == {"measure": 1}
    assert world.run() == NOTHING
    assert world.planned() == NOTHING


def test_a_revision_with_the_same_rows_trains_nothing(world):
    world.configure({"data.talks.revision": OTHER})
    assert world.run() == {"fetch_instructions": 1}
    assert world.planned() == NOTHING


def test_an_edit_of_the_loss_trains_again(world):
    world.edit("src/polycal/smoothing.py", "\nimport", "\nEDITED = 1\nimport")
    # the numbers are the same, so the checkpoints are, and what was scored with them stands
    assert world.run() == {"finetune": 2}
    assert world.planned() == NOTHING
