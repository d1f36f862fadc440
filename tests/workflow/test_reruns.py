"""After an edit, exactly the changed cells run: in a dry run, in ``polycal status``, and in what is then computed.

A planned job may compute nothing: if its inputs have the same content as before, its cached results are restored.
"""

import shutil
from collections import Counter

import pytest
import yaml
from helpers import entailment
from helpers.world import FURTHER, OTHER

pytestmark = pytest.mark.apart

NOTHING = Counter()
BELOW = {"measure": 1, "report": 1}
BELOW_ANSWERS = {"measure_generation": 1, "report": 1}
TRAINING = {"finetune": 2, "score": 2, **BELOW}


def follow(world, planned, computed, **more):
    """Assert that Snakemake and ``polycal status`` plan ``planned``, and that a run computes ``computed``.

    Both map a stage to a number: of jobs in ``planned``, and of cells in ``computed``. After the run, nothing may be
    planned any more.
    """
    assert world.planned(**more) == planned
    said = world.status(**more)
    jobs = {one["job"]: one["stage"] for one in said}
    assert Counter(jobs.values()) == planned
    assert all(one["reasons"] for one in said)
    if not planned:
        assert computed == {}
        return
    sure = Counter(one["stage"] for one in said if one["outcome"] == "computed")
    open_ = Counter(one["stage"] for one in said if one["outcome"] == "open")
    found = world.run(**more)
    assert found == computed
    assert sure <= found <= sure + open_
    assert world.planned(**more) == NOTHING
    assert world.status(**more) == []


SCORING = "src/polycal/scoring/multiple_choice.py"
EDITS = {
    "a comment in scoring": (SCORING, "\nimport", "\n# why\nimport", {}, {}),
    "a docstring in scoring": (SCORING, '"""', '"""Other words. ', {}, {}),
    "a format change in scoring": (SCORING, "\nimport", "\n\n\nimport", {}, {}),
    # the scores are the same, so the tables remain valid; the report names other records
    "scoring": (SCORING, "\nimport", "\nEDITED = 1\nimport", {"score": 3, **BELOW}, {"score": 6, "report": 1}),
    "calibration": ("src/polycal/metrics/calibration.py", "\nfrom", "\nEDITED = 1\nfrom", BELOW, BELOW),
    "figures": ("src/polycal/report/figures/common.py", "\nfrom", "\nEDITED = 1\nfrom", {"report": 1}, {"report": 1}),
    "the report's template": (
        "src/polycal/report/templates/report.html.j2", "<body>", "<body >", {"report": 1}, {"report": 1}),
    # the weights are the same, so the scores remain valid
    "smoothing": (
        "src/polycal/losses/label_smoothing.py", "\nimport", "\nEDITED = 1\nimport", TRAINING, {"finetune": 2, "report": 1}),
    "a training dependency": ("envs/cpu.lock", "\ntrl==", "\ntrl==9", TRAINING, {"finetune": 2, "report": 1}),
    "a plotting dependency": ("envs/cpu.lock", "\nseaborn==", "\nseaborn==9", {"report": 1}, {"report": 1}),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_runs_what_depends_on_it(world, edit):
    file, old, new, planned, computed = EDITS[edit]
    world.edit(file, old, new)
    follow(world, planned, computed)


SETTINGS = {
    "β 0.1 to 0.15": (
        {"grid.betas": [0, 0.15]}, {"finetune": 1, "score": 1, **BELOW}, {"finetune": 1, "score": 2, **BELOW}),
    "two values swapped": (
        {"recipes.brief.epochs": 1, "recipes.brief.max_grad_norm": 2}, TRAINING, {"finetune": 2, "score": 4, **BELOW}),
    "number of bins": ({"measure.bins": 7}, BELOW, BELOW),
    "GPUs, ZeRO stage and memory": (
        {"models.own": {"path": "model", "dtype": "float32", "training_gpus": 1, "zero_stage": 3, "scoring_gpus": 2,
                        "training_memory_mb": 999}}, {}, {}),
    "another spelling": ({"grid.betas": ["0.0", ".10"], "recipes.brief.learning_rates": [0.001]}, {}, {}),
    # the revision contains the same rows
    "revision of the instructions": (
        {"data.talks.revision": OTHER}, {"fetch_instructions": 1, **TRAINING},
        {"fetch_instructions": 1, "report": 1}),
    "languages a job": ({"languages_per_job": 1}, {"score": 6, **BELOW}, {}),
}  # fmt: skip


@pytest.mark.parametrize("change", SETTINGS)
def test_a_setting_runs_what_depends_on_it(world, change):
    changes, planned, computed = SETTINGS[change]
    world.configure(changes)
    follow(world, planned, computed)


def test_partition_and_threads_plan_nothing(world):
    words = ["--set-threads", "finetune=2", "--default-resources", "slurm_partition=other"]
    assert world.planned(*words) == NOTHING


def test_key_order_and_comments_of_yaml_plan_nothing(world):
    study = yaml.safe_load((world.work / "study.yaml").read_text())

    def turned(value):
        return {k: turned(value[k]) for k in reversed(value)} if isinstance(value, dict) else value

    text = "# a comment\n" + yaml.safe_dump(turned(study), sort_keys=False)
    (world.work / "study.yaml").write_text(text)
    follow(world, {}, {})


def test_touching_every_file_plans_nothing(world):
    for path in world.work.parent.rglob("*"):
        if path.is_file() and ".snakemake" not in path.parts:
            path.touch()
    follow(world, {}, {})


def test_a_fresh_clone_over_existing_results_plans_nothing(world):
    source = world.code.with_name("before")
    world.code.rename(source)
    shutil.copytree(source, world.code, copy_function=shutil.copy)
    follow(world, {}, {})


def test_a_copy_without_metadata_computes_nothing(world):
    shutil.rmtree(world.work / ".snakemake")
    for path in world.work.joinpath("resources").rglob("*.*"):
        path.touch()
    assert world.planned()["finetune"] == 2
    assert world.run() == NOTHING
    assert world.planned() == NOTHING


def test_a_deleted_record_is_missed_and_handed_out(world):
    next(world.work.glob("results/scores/**/language=yo/scores.parquet")).unlink()
    follow(world, {"score": 1, **BELOW}, {})


ADDED = {"fetch_benchmark": 1, "check_parallel": 1, "score": 3, **BELOW}
LANGUAGES = {
    ("en", "yo", "sw"): (ADDED, {1: ADDED, 4: ADDED}),
    ("en", "sw", "yo"): (ADDED, {1: ADDED, 4: ADDED}),
    ("en",): (BELOW, {1: {**BELOW, "score": 0}, 4: {**BELOW, "score": 3}}),
}
"""Languages of the benchmark → cells to be computed, and jobs to be planned by number of languages per job."""


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("languages", LANGUAGES, ids="-".join)
def test_of_languages_only_the_added_are_computed(world, size, languages):
    if size != 4:
        world.configure({"languages_per_job": size})
        assert world.run() == NOTHING  # the same cells in other jobs
    world.configure({"languages_per_job": size, "benchmarks.mine.languages": list(languages)})
    computed, planned = LANGUAGES[languages]
    follow(world, +Counter(planned[size]), computed)


def test_a_changed_question_computes_its_language_only(world):
    world.ask("yo", "What of {}?")
    planned = {"fetch_benchmark": 1, "check_parallel": 1, "score": 3, **BELOW}
    follow(world, planned, {"fetch_benchmark": 1, "check_parallel": 1, "score": 3, **BELOW})


def test_switching_overlays_and_back_computes_nothing(world):
    (world.work / "over.yaml").write_text("measure: {bins: 5}\ngrid: {betas: [0]}\n")
    follow(world, BELOW, BELOW, overlays=("over.yaml",))
    assert world.run() == NOTHING
    assert world.planned() == NOTHING


def test_what_looks_further_runs_with_what_it_depends_on(further, tmp_path):
    """Embeddings of prompts and next-token scores depend on cell, code and content, like all other results."""
    world = further.copy(tmp_path / "copy")
    follow(world, {}, {})
    verified = world.book("verify")
    assert verified.returncode == 0, verified.stdout
    study = ("--configfile", *world.configurations())
    # cached checkpoints of earlier conversations are not needed; embeddings are
    assert "cached finetune" in world.polycal("prune", *study).stdout
    assert "cached embed" not in world.polycal("prune", *study).stdout
    world.edit("src/polycal/analysis/next_token_metrics.py", "\nimport", "\nEDITED = 1\nimport")
    world.configure({**FURTHER, "embeddings": {**FURTHER["embeddings"], "questions": 5}})
    next(world.work.glob("results/next_token/**/beta=0.1/**/tokens.parquet")).unlink()
    follow(
        world,
        {"embed": 3, "measure_embeddings": 1, "score_next_token": 1, "measure_next_token": 1, "report": 1},
        {"embed": 6, "measure_embeddings": 1, "measure_next_token": 1, "report": 1},
    )
    assert world.polycal("prune", *study).stdout.count("cached embed") == 6


def test_another_entailment_model_clusters_again_and_generates_nothing(further, tmp_path):
    world = further.copy(tmp_path / "copy")
    entailment.save(world.work / "other", entailing=("no",))
    other = {"models.other": {"path": "other", "dtype": "float32", "attention": "eager"}}
    world.configure({**FURTHER, **other, "generation": {**FURTHER["generation"], "entailment": "other"}})
    jobs = {"fetch_model": 1, "cluster": 3, "measure_generation": 1, "report": 1}
    follow(world, jobs, {**jobs, "cluster": 6})
    world.configure({**FURTHER, "generation": {**FURTHER["generation"], "entailment": None}})
    follow(world, BELOW_ANSWERS, BELOW_ANSWERS)
