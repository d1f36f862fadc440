"""What a study would cost, before anything runs: jobs, GPU-hours, memory of a GPU and disk, from stated assumptions.

Arithmetic, not measurement: 6 floating-point operations a parameter and token for training (Kaplan et al., arXiv
2001.08361, section 2.1), a third more where activations are recomputed, 2 for scoring.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from polycal.study import grid
from polycal.study.config import Config, Data, Model, Recipe

STATES = {"weights": 2, "gradients": 2, "optimizer": 12}
"""Bytes a parameter with AdamW in bfloat16: optimizer is a float32 copy of the weights and two moments
(Rajbhandari et al., arXiv 1910.02054, section 3.1)."""
LAYER = 34
"""Activations of one layer without recomputation, in bytes a token and hidden unit, attention matrix aside
(Korthikanti et al., arXiv 2205.05198, equation 2)."""
ROW = 150
"""Bytes a question of a score record, compressed."""
HOUR = 3600.0
GB = 1e9


@dataclass(frozen=True)
class Line:
    """Jobs of one kind: how many, GPU-hours and disk of all, the longest in hours; None where a size is unknown."""

    stage: str
    what: str
    jobs: int
    gpu_hours: float | None
    longest: float | None
    disk_gb: float | None
    note: str = ""


def plan(config: Config) -> list[Line]:
    """A line for each model and instruction set to be trained, each model to be scored, and what is fetched."""
    return [*_fetching(config), *_training(config), *_scoring(config)]


def memory_gb(model: Model, recipe: Recipe) -> dict[str, float] | None:
    """Memory of one GPU in training by part, in GB; None where a size of the model is unknown.

    ZeRO-2 shares gradients and optimizer over the GPUs, ZeRO-3 the weights too. Activations are those of one
    micro-batch of the longest conversations; the loss holds no logits.
    """
    if model.planning.parameters is None or model.planning.hidden is None or model.planning.layers is None:
        return None
    ranks = model.training_world
    shared = {
        "weights": model.zero_stage == 3,
        "gradients": model.zero_stage >= 2,
        "optimizer": model.zero_stage >= 2,
    }
    found = {
        part: bytes_ * model.planning.parameters / (ranks if shared[part] else 1) / GB
        for part, bytes_ in STATES.items()
    }
    units = recipe.micro_batch_size * recipe.max_length * model.planning.hidden / GB
    kept = 2 * model.planning.layers + LAYER if recipe.gradient_checkpointing else LAYER * model.planning.layers
    return {**found, "activations": kept * units}


def _fetching(config: Config) -> Iterator[Line]:
    blocks = config.grid.blocks()
    models = sorted({name for block in blocks for name in block.models})
    sizes = [config.models[name].planning.parameters for name in models]
    yield Line(
        "fetch", "models", len(models), 0.0, None, _total([None if n is None else 2 * n / GB for n in sizes])
    )


def _training(config: Config) -> Iterator[Line]:
    found: dict[tuple[str, str, str], int] = {}
    for cell in {(c.model, c.data, c.recipe, c.beta, c.seed) for c in grid.cells(grid.products(config))}:
        if cell[1] != grid.NONE:
            rates = len(config.recipes[cell[2]].learning_rates)
            found[cell[:3]] = found.get(cell[:3], 0) + rates
    for (model, data, recipe), jobs in sorted(found.items()):
        chosen = config.models[model]
        one = training_hours(config, chosen, config.data[data], config.recipes[recipe])
        hours = None if one is None else one / chosen.training_world
        disk = None if chosen.planning.parameters is None else jobs * STATES["weights"] * chosen.planning.parameters / GB
        total = None if one is None else jobs * one
        yield Line(
            "finetune",
            f"{model} on {data}, {recipe}",
            jobs,
            total,
            hours,
            disk,
            _over(hours, chosen.training_minutes),
        )


def training_hours(config: Config, model: Model, data: Data, recipe: Recipe) -> float | None:
    """GPU-hours of one fine-tuning job; None where a size is unknown."""
    rows = min(filter(None, (data.rows, data.planning.size)), default=None)
    if model.planning.parameters is None or rows is None or data.planning.tokens is None:
        return None
    tokens = rows * (1 - float(data.heldout)) * min(data.planning.tokens, recipe.max_length) * float(recipe.epochs)
    again = 4 / 3 if recipe.gradient_checkpointing else 1
    speed = config.planning.gpu_tflops * 1e12 * config.planning.training_share
    return 6 * model.planning.parameters * tokens * again / speed / HOUR


def _scoring(config: Config) -> Iterator[Line]:
    asked = grid.cells(grid.products(config))
    jobs_of = {
        (benchmark, code): number for benchmark, number, codes in grid.batches(config) for code in codes
    }
    for model in sorted({cell.model for cell in asked}):
        chosen, disk = config.models[model], 0.0
        hours: dict[tuple[object, ...], float] = {}
        complete = chosen.planning.parameters is not None
        for cell in (c for c in asked if c.model == model):
            benchmark = config.benchmarks[cell.benchmark]
            count = min(filter(None, (benchmark.limit, benchmark.planning.questions)), default=None)
            job = (*list(vars(cell).values())[:7], jobs_of[cell.benchmark, cell.language])
            hours.setdefault(job, config.planning.load_seconds / HOUR)
            if count is None or benchmark.planning.tokens is None or chosen.planning.parameters is None:
                complete = False
                continue
            tokens = count * benchmark.planning.tokens * (1 + config.protocols[cell.protocol].num_fewshot)
            speed = config.planning.gpu_tflops * 1e12 * config.planning.scoring_share
            hours[job] += 2 * chosen.planning.parameters * tokens / speed / HOUR
            disk += count * ROW / GB
        gpus = max(chosen.scoring_gpus, 1)
        longest = max(hours.values()) if complete else None
        total = sum(hours.values()) * gpus if complete else None
        yield Line(
            "score",
            model,
            len(hours),
            total,
            longest,
            disk if complete else None,
            _over(longest, chosen.scoring_minutes),
        )


def _over(hours: float | None, minutes: int) -> str:
    return f"longer than its limit of {minutes} minutes" if hours is not None and hours * 60 > minutes else ""


def _total(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def table(config: Config) -> str:
    """The plan as text: assumptions, a line a kind of job, sums, and the memory of a GPU for each trained model."""
    said = config.planning
    lines = [
        f"Assumed: {said.gpu_tflops:g} TFLOP/s a GPU, {said.training_share:.0%} of them reached in training and"
        f" {said.scoring_share:.0%} in scoring, {said.load_seconds:g} s to load a model. Change them under 'planning'.",
        "",
        f"{'stage':9} {'what':42} {'jobs':>6} {'GPU-hours':>10} {'longest h':>10} {'disk GB':>9}",
    ]
    found = plan(config)
    for line in found:
        lines.append(
            _row(line.stage, line.what, line.jobs, line.gpu_hours, line.longest, line.disk_gb)
            + f"  {line.note}".rstrip()
        )
    sums = [_total([getattr(line, key) for line in found]) for key in ("gpu_hours", "disk_gb")]
    lines.append(_row("all", "", sum(line.jobs for line in found), sums[0], None, sums[1]))
    if sums[0] is None:
        lines.append(
            "?: unknown; give, under 'planning', 'parameters' of the model, 'size' and 'tokens' of data, 'questions' and 'tokens' of benchmarks."
        )
    for model, recipe in sorted(
        {(m, r) for b in config.grid.blocks() if b.data for m in b.models for r in b.recipes}
    ):
        parts = memory_gb(config.models[model], config.recipes[recipe])
        if parts:
            shown = " + ".join(f"{value:.1f} {name}" for name, value in parts.items())
            lines.append(f"{model}, {recipe}: {sum(parts.values()):.0f} GB a GPU in training ({shown})")
    return "\n".join(lines)


def _row(
    stage: str, what: str, jobs: int, hours: float | None, longest: float | None, disk: float | None
) -> str:
    shown = ["?" if value is None else f"{value:,.1f}" for value in (hours, disk)]
    return f"{stage:9} {what:42} {jobs:6} {shown[0]:>10} {'' if longest is None else f'{longest:.1f}':>10} {shown[1]:>9}"
