"""The cost estimate: its arithmetic by hand, the paper's grid, and finished jobs in place of assumptions."""

import json
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from polycal.cli import app
from polycal.study import cluster_schedule, cost_estimate, cost_table, finished_jobs, grid, paths
from polycal.study.cluster_schedule import ScheduleError
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
    assert not [line for line in lines if line.limit_hours and line.longest > line.limit_hours]
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
    marked = [line for line in cost_table.table(short).splitlines() if "longer than its limit of 1 h" in line]
    assert [line[10:52].strip() for line in marked] == [
        "gemma-2-2b on openhermes, paper",
        "gemma-2-2b on tulu-3-mixture, paper",
    ]


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
    few = cluster_schedule.schedule(lines, 8, None, 0.0)
    assert hours / 8 / 24 <= few.days <= 1.02 * hours / 8 / 24
    longest = [max(line.longest for line in lines if line.stage == stage) for stage in ("finetune", "score")]
    all_at_once = cluster_schedule.schedule(lines, 10**6, None, 0.0)
    assert all_at_once.days == pytest.approx(sum(longest) / 24)
    assert all_at_once.at_once == {"finetune": 108, "score": 2130}
    assert f"{few.days:,.1f} days with 8 GPUs" in cost_table.table(PAPER)


def line(stage, gpus, *hours):
    return cost_estimate.JobEstimate(stage, "x", len(hours), gpus, hours, hours, 0, 0.0)


def test_a_schedule_by_hand():
    # two jobs of 4 GPUs side by side for 3 h, the third after them for 2 h; then four of the five at once
    lines = [line("finetune", 4, 3.0, 3.0, 2.0), line("score", 2, 1.0, 1.0, 1.0, 1.0, 1.0)]
    found = cluster_schedule.schedule(lines, 8, None, 0.0)
    assert found.days == pytest.approx((5 + 2) / 24)
    assert found.at_once == {"finetune": 2, "score": 4}
    assert found.parts == 1


def test_a_time_limit_cuts_trainings_into_jobs_that_load_again():
    # 10 h under a limit of 4 h with half an hour to load: 4 h, then 3.5 h of work in each further job
    found = cluster_schedule.schedule([line("finetune", 1, 10.0)], 1, 4.0, 0.5)
    assert found.parts == 3
    assert found.days == pytest.approx((10 + 2 * 0.5) / 24)
    text = cost_table.table(PAPER, gpus=16, limit_hours=24)
    assert (
        "With 16 GPUs and at most 24 h per job: up to 8 finetune jobs and 16 score jobs at once, done after"
        in text
    )
    assert "A training needs up to 2 jobs, one after the other." in text


@pytest.mark.parametrize(
    ("lines", "gpus", "limit", "sentence"),
    [
        ([line("finetune", 4, 1.0)], 2, None, "finetune x needs 4 GPUs per job; --gpus is 2"),
        ([line("score", 1, 5.0)], 8, 4.0, "a job takes 5.0 h, longer than the limit of 4 h"),
        ([line("finetune", 1, 5.0)], 8, 0.5, "the limit of 0.5 h must be longer"),
    ],
)
def test_a_cluster_that_can_never_run_the_study_is_refused(lines, gpus, limit, sentence):
    with pytest.raises(ScheduleError, match=sentence):
        cluster_schedule.schedule(lines, gpus, limit, 0.5)


def finished_training(folder, checkpoint, rate, seconds, **more):
    path = folder / paths.FINETUNED.format(**checkpoint, lr=rate)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"cost": {"wall_seconds": seconds}, **more}))


def finished_record(folder, cell, seconds, questions):
    path = folder / paths.SCORES.format(**asdict(cell))
    path.parent.mkdir(parents=True)
    manifest = json.dumps({"seconds": seconds, "questions": questions})
    pq.write_table(pa.table({"x": [1]}).replace_schema_metadata({"polycal": manifest}), path)


def trainings_of(model, data):
    recipe = PAPER.recipes["paper"]
    every = grid.checkpoints(grid.blocks(PAPER), tuned=True)
    return [
        (one, rate)
        for one in every
        if (one["model"], one["data"]) == (model, data)
        for rate in recipe.learning_rates
    ]


def test_finished_trainings_replace_assumptions(tmp_path):
    """Half an hour was assumed; 3 hours were measured. Other data of the model is scaled, other models are not."""
    jobs = trainings_of("gemma-2-2b", "alpaca")
    for (checkpoint, rate), hours in zip(jobs, (3.0, 3.0, 30.0), strict=False):
        finished_training(tmp_path, checkpoint, rate, hours * 3600, resumed_at=None)
    # the time of an interrupted training is that of its last part, and a broken manifest says nothing
    finished_training(tmp_path, *jobs[3], 60.0, resumed_at=40)
    broken = tmp_path / paths.FINETUNED.format(**jobs[4][0], lr=jobs[4][1])
    broken.parent.mkdir(parents=True)
    broken.write_text("{")
    before = {line.what: line for line in cost_estimate.estimate(PAPER)}
    after = {line.what: line for line in cost_estimate.estimate(PAPER, finished_jobs.read(PAPER, tmp_path))}
    own = after["gemma-2-2b on alpaca, paper"]
    assert (own.jobs, own.done, own.origin) == (12, 4, "measured on 3 finished")
    assert own.hours == (3.0,) * 12
    assert own.left == (3.0,) * 8
    ratio = 3.0 / before["gemma-2-2b on alpaca, paper"].longest
    other = after["gemma-2-2b on openhermes, paper"]
    assert other.longest == pytest.approx(ratio * before[other.what].longest)
    assert "times the assumed time, as measured on gemma-2-2b" in other.origin
    assert after["llama-3.1-8b on alpaca, paper"] == before["llama-3.1-8b on alpaca, paper"]
    assert before["llama-3.1-8b on alpaca, paper"].origin == "assumed"


def test_finished_records_replace_assumptions_and_are_done(tmp_path):
    cells = [cell for cell in grid.cells(grid.blocks(PAPER)) if cell.model == "gemma-2-2b"]
    [benchmark] = {cell.benchmark for cell in cells[:5]}
    for cell in cells[:5]:
        finished_record(tmp_path, cell, 36.0, 72)  # half a second per question
    [before] = [line for line in cost_estimate.estimate(PAPER) if line.what == "gemma-2-2b"]
    finished = finished_jobs.read(PAPER, tmp_path)
    [after] = [line for line in cost_estimate.estimate(PAPER, finished) if line.what == "gemma-2-2b"]
    assert (after.jobs, after.done, len(after.left)) == (before.jobs, 5, before.jobs - 5)
    questions = grid.questions(PAPER, benchmark)
    assert pytest.approx((60 + questions / 2) / 3600) in after.hours
    assert "measured on 5 records" in after.origin


def test_the_time_of_a_cpu_is_never_that_of_a_gpu():
    lines = cost_estimate.estimate(
        changed({"models": {"gemma-2-2b": {"training_gpus": 0, "scoring_gpus": 0}}})
    )
    for one in (one for one in lines if one.what.startswith("gemma-2-2b")):
        assert (one.gpu_hours, one.hours) == (0.0, None)


def test_a_model_of_70b_can_be_planned():
    sizes = {"parameters": 70.6e9, "vocabulary": 128256, "hidden": 8192, "layers": 80}
    entry = {"training_gpus": 8, "training_nodes": 4, "zero_stage": 3, "scoring_gpus": 4, "planning": sizes}
    large = changed({"models": {"llama-3.1-8b": entry}})
    model, recipe = large.models["llama-3.1-8b"], large.recipes["paper"]
    assert sum(cost_estimate.memory_gb(model, recipe).values()) == pytest.approx(
        16 * 70.6 / 32 + (2 * 80 + 34) * 4096 * 8192 / 1e9
    )
    lines = {line.what: line for line in cost_estimate.estimate(large)}
    assert lines["llama-3.1-8b on alpaca, paper"].gpus == 32
    small = {line.what: line for line in cost_estimate.estimate(PAPER)}["llama-3.1-8b on alpaca, paper"]
    assert lines["llama-3.1-8b on alpaca, paper"].gpu_hours == pytest.approx(small.gpu_hours * 70.6 / 8.03)
    assert "llama-3.1-8b, paper: 42 GB per GPU in training" in cost_table.table(large)


def test_jobs_of_probes_are_named_because_they_are_not_estimated():
    probes = {
        "embeddings": {"benchmark": "global-mmlu", "protocol": "letters-0shot"},
        "next_token": {"data": ["alpaca", "openhermes"]},
    }
    text = cost_table.table(changed(probes))
    assert "Not estimated: 30 jobs that embed prompts and 60 jobs that score next tokens." in text
