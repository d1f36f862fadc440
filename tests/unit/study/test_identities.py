"""Cells contain what determines a result, and nothing else."""

import json
import subprocess
import sys

import pytest
from helpers.studies import BASE, MINIATURE

from polycal.store.stages import STAGES
from polycal.study import grid, identities
from polycal.study.config_loading import merge, resolve

ALL = {
    "embeddings": {"benchmark": "b", "protocol": "p"},
    "next_token": {"data": ["d"]},
    "benchmarks": {"open": {"path": "o", "format": "open", "languages": ["en"]}},
    "models": {"nli": {"path": "nli"}},
    "generation": {"benchmarks": ["open"], "entailment": "nli"},
    "grid": {"models": ["m", "mini"]},
}
CONFIG = resolve(merge(merge(BASE, MINIATURE), ALL))
NAMES = {
    "model": "mini",
    "base_seed": "0",
    "data": "d",
    "recipe": "r",
    "beta": "0.1",
    "seed": "42",
    "benchmark": "b",
    "protocol": "p",
    "pooling": "last",
    "heldout": "d",
    "lr": "5e-6",
}
ARGUMENTS = {
    "miniature_model": ("llama", "0"),
    "fetch_model": ("mini", "0"),
    "fetch_instructions": ("d",),
    "fetch_benchmark": ("b", "en"),
    "check_parallel": ("b",),
    "score": (["en"],),
    "generate": (["en"],),
    "cluster": (["en"],),
    "report": (["score: 0123 → 4567"],),
}
NAMED = ("finetune", "select_lr", "score", "embed", "score_next_token", "generate", "cluster")
OF_THE_STUDY = (
    "measure", "measure_groups", "measure_embeddings", "measure_next_token", "measure_generation", "report",
)  # fmt: skip


def cell(stage, config=CONFIG, **names):
    """The cell of a stage. For a stage whose jobs have several languages: the cell of the first language."""
    given = {**NAMES, **names} if stage in NAMED else {}
    value = json.loads(getattr(identities, stage)(config, *ARGUMENTS.get(stage, ()), **given))
    return value[0] if isinstance(value, list) else value


def changed(change):
    return resolve(merge(CONFIG.model_dump(exclude_unset=True), change))


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_a_cell_that_names_it(stage):
    assert cell(stage)["stage"] == stage


@pytest.mark.parametrize("stage", STAGES)
def test_no_cell_depends_on_how_jobs_run_or_on_the_cost_estimate(stage):
    jobs = {"training_gpus": 4, "training_nodes": 2, "zero_stage": 3, "scoring_gpus": 1, "scoring_minutes": 5}
    sizes = {"planning": {"parameters": 7e9}}
    other = changed(
        {
            "models": {"m": {**jobs, **sizes}, "mini": {**jobs, **sizes}},
            "data": {"d": {"planning": {"size": 10}}},
            "benchmarks": {"b": {"planning": {"questions": 10}}},
            "planning": {"gpu_tflops": 989},
            "languages_per_job": 2,
        }
    )
    assert cell(stage, other) == cell(stage)


@pytest.mark.parametrize("stage", ["fetch_model", "miniature_model", *NAMED])
def test_the_base_seed_is_part_of_every_cell_of_a_model(stage):
    assert cell(stage)["base_seed"] == "0"


def test_models_of_one_architecture_and_different_base_seeds_come_from_different_folders():
    sources = [json.loads(identities.fetch_model(CONFIG, "mini", seed))["source"] for seed in ("0", "1")]
    assert sources == [
        {"miniature": f"resources/miniature/models/llama/base_seed={seed}"} for seed in ("0", "1")
    ]


@pytest.mark.parametrize("stage", OF_THE_STUDY)
def test_the_cell_of_a_study_contains_the_grid_and_not_its_records(stage):
    assert cell(stage)["grid"] == grid.blocks(CONFIG)


def test_base_models_get_plain_text():
    config = changed({"protocols": {"p": {"chat_template": "tulu"}}})
    assert cell("score", config)["settings"]["chat_template"] == "tulu"
    assert cell("score", config, data="none")["settings"]["chat_template"] is None
    config = changed({"generation": {"chat_template": "tulu"}})
    assert cell("generate", config)["settings"]["chat_template"] == "tulu"
    assert cell("generate", config, data="none")["settings"]["chat_template"] is None


def test_only_benchmarks_of_the_miniature_have_true_distributions():
    assert "truth" not in cell("measure")["settings"]
    assert identities.truth_manifests(CONFIG) == []
    config = changed({"grid": {"benchmarks": ["mini", "b"]}})
    assert cell("measure", config)["settings"]["truth"] == {"mini": "resources/miniature/truth/global-mmlu"}
    assert identities.truth_manifests(config) == ["resources/miniature/data.json"]


def test_the_report_depends_on_the_acceptances_that_it_lists():
    assert cell("report")["acceptances"] == ["score: 0123 → 4567"]
    assert json.loads(identities.report(CONFIG, []))["acceptances"] == []


def test_planning_a_study_imports_no_model_library():
    code = (
        "import sys, polycal.study.identities, polycal.study.cost_estimate, polycal.study.config_reference;"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_a_key_that_is_not_used_is_in_no_cell_and_one_that_is_used_changes_only_scores():
    assert "rotations" not in cell("score")["settings"]
    assert not {"follow_up", "normalise"} & set(cell("score")["settings"])
    asked = changed({"protocols": {"p": {"follow_up": "levels"}}})
    expected = {**cell("score")["settings"], "follow_up": "levels", "normalise": "sum"}
    assert cell("score", asked)["settings"] == expected
    assert cell("embed", asked) == cell("embed")
    assert cell("score", changed({"protocols": {"p": {"rotations": 1}}})) == cell("score")
    rotated = changed({"protocols": {"p": {"rotations": 4}}})
    assert cell("score", rotated)["settings"] == {**cell("score")["settings"], "rotations": 4}
    assert cell("embed", rotated) == cell("embed")


def test_only_clusters_and_their_measures_depend_on_the_entailment_model():
    other = changed({"models": {"other": {"path": "o"}}, "generation": {"entailment": "other"}})
    assert cell("generate", other) == cell("generate")
    assert cell("cluster")["entailment"] == "nli"
    assert cell("cluster", other) == {**cell("cluster"), "entailment": "other"}
    none = changed({"generation": {"entailment": None}})
    assert cell("measure_generation", none) == {
        key: value for key, value in cell("measure_generation").items() if key != "entailment"
    }
    named = [one["name"] for one in cell("report", other)["origins"] if one["kind"] == "models"]
    assert named == ["m", "mini", "other"]
    exact = changed({"models": {"nli": {"dtype": "float32"}}})
    assert cell("cluster", exact)["settings"] == {"dtype": "float32", "attention": "sdpa"}
    assert cell("generate", exact) == cell("generate")
