"""The cost estimate: its arithmetic by hand, and the paper's grid."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from polycal.cli import app
from polycal.study import cost_estimate
from polycal.study.config_loading import load, merge, resolve

ROOT = Path(__file__).parents[3]
PAPER = load([ROOT / "config/languages.yaml", ROOT / "config/config.yaml"])
FILES = ("languages.yaml", "config.yaml", "mini.yaml")


def changed(change):
    return resolve(merge(PAPER.model_dump(), change))


def test_the_papers_grid_has_its_jobs_and_none_exceeds_its_limit():
    lines = cost_estimate.estimate(PAPER)
    jobs = {stage: sum(line.jobs for line in lines if line.stage == stage) for stage in ("finetune", "score")}
    assert jobs == {"finetune": 108, "score": 2130}
    assert not [line for line in lines if "longer than" in line.note]
    assert {line.note for line in lines if line.stage == "finetune"} == {"3 checkpoints × 4 learning rates"}
    assert {line.gpus for line in lines if line.what.startswith("llama")} == {4, 1}
    assert all(line.gpu_hours is not None and line.disk_gb is not None for line in lines)


def test_training_hours_are_the_operations_over_the_speed():
    model, data, recipe = PAPER.models["llama-3.1-8b"], PAPER.data["alpaca"], PAPER.recipes["paper"]
    tokens = 52002 * 0.98 * 120 * 2
    by_hand = 6 * 8.03e9 * tokens * (4 / 3) / (312e12 * 0.35) / 3600
    assert cost_estimate.training_hours(PAPER, model, data, recipe) == pytest.approx(by_hand)
    twice = changed({"planning": {"gpu_tflops": 624}})
    assert cost_estimate.training_hours(twice, model, data, recipe) == pytest.approx(by_hand / 2)
    sampled = changed({"data": {"alpaca": {"rows": 26001}}}).data["alpaca"]
    assert cost_estimate.training_hours(PAPER, model, sampled, recipe) == pytest.approx(by_hand / 2)


def test_zero_3_shares_every_state_and_zero_2_all_but_the_weights():
    model, recipe = PAPER.models["llama-3.1-8b"], PAPER.recipes["paper"]
    third = cost_estimate.memory_gb(model, recipe)
    assert third["weights"] + third["gradients"] + third["optimizer"] == pytest.approx(16 * 8.03 / 4)
    assert third["activations"] == pytest.approx((2 * 32 + 34) * 4096 * 4096 / 1e9)
    second = cost_estimate.memory_gb(model.model_copy(update={"zero_stage": 2}), recipe)
    assert second["weights"] == pytest.approx(4 * third["weights"])
    assert second["optimizer"] == third["optimizer"]
    for name in PAPER.grid.models:
        assert sum(cost_estimate.memory_gb(PAPER.models[name], recipe).values()) < 80


def test_loading_counts_once_per_job_and_a_job_that_exceeds_its_limit_is_marked():
    alone = {line.what: line for line in cost_estimate.estimate(PAPER) if line.stage == "score"}
    eight = changed({"languages_per_job": 8})
    batched = {line.what: line for line in cost_estimate.estimate(eight) if line.stage == "score"}
    for model, line in batched.items():
        saved = (alone[model].jobs - line.jobs) * 60 / 3600
        assert alone[model].gpu_hours - line.gpu_hours == pytest.approx(saved)
        assert line.disk_gb == pytest.approx(alone[model].disk_gb)
    short = changed({"models": {"gemma-2-2b": {"training_minutes": 60}}})
    marked = [line.what for line in cost_estimate.estimate(short) if "longer than its limit" in line.note]
    assert marked == ["gemma-2-2b on openhermes, paper", "gemma-2-2b on tulu-3-mixture, paper"]


def test_unknown_sizes_are_not_guessed():
    ran = CliRunner().invoke(
        app.app, ["plan", "--configfile", *(str(ROOT / "config" / name) for name in FILES)]
    )
    assert ran.exit_code == 0
    assert "?: unknown; give, under 'planning', 'parameters' of the model" in ran.output
    assert "finetune  gemma2-mini on alpaca-mini, mini" in ran.output
    assert "Calendar time" not in ran.output


def test_calendar_time_is_gpu_hours_over_gpus_but_at_least_the_longest_jobs():
    lines = cost_estimate.estimate(PAPER)
    hours = sum(line.gpu_hours for line in lines)
    assert cost_estimate.calendar_days(lines, 8) == pytest.approx(hours / 8 / 24)
    longest = [max(line.longest for line in lines if line.stage == stage) for stage in ("finetune", "score")]
    assert cost_estimate.calendar_days(lines, 10**6) == pytest.approx(sum(longest) / 24)
    assert f"{hours / 8 / 24:,.1f} days with 8 GPUs" in cost_estimate.table(PAPER)


def test_jobs_of_probes_are_named_because_they_are_not_estimated():
    probes = {
        "embeddings": {"benchmark": "global-mmlu", "protocol": "letters-0shot"},
        "next_token": {"data": ["alpaca", "openhermes"]},
    }
    text = cost_estimate.table(changed(probes))
    assert "Not estimated: 30 jobs that embed prompts and 60 jobs that score next tokens." in text
