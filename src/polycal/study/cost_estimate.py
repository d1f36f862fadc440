"""The cost of a study, estimated before anything runs: jobs, GPU-hours, memory of a GPU, and disk.

This is arithmetic from stated assumptions, not a measurement: 6 floating-point operations per parameter and
token for training (Kaplan et al., arXiv 2001.08361, section 2.1), a third more if activations are recomputed,
and 2 for scoring.
"""

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass

from polycal.study import grid
from polycal.study.config import Config
from polycal.study.config_catalogues import Benchmark, Data, Model, Recipe

STATE_BYTES = {"weights": 2, "gradients": 2, "optimizer": 12}
"""Bytes per parameter with AdamW in bfloat16. The optimizer has a float32 copy of the weights and two moments
(Rajbhandari et al., arXiv 1910.02054, section 3.1)."""
LAYER_BYTES = 34
"""Activations of one layer without recomputation, in bytes per token and hidden unit, without the attention
matrix (Korthikanti et al., arXiv 2205.05198, equation 2)."""
RECORD_BYTES = 150
"""Bytes per question of a compressed score record."""
HOUR = 3600.0
GB = 1e9


@dataclass(frozen=True)
class JobEstimate:
    """Jobs of one kind: their number, GPU-hours and disk of all, and hours of the longest.

    A value is None if a size that it depends on is unknown.
    """

    stage: str
    what: str
    jobs: int
    gpu_hours: float | None
    longest: float | None
    disk_gb: float | None
    note: str = ""


def estimate(config: Config) -> list[JobEstimate]:
    """What is fetched, each model and instruction set that is trained, and each model that is scored."""
    return [_fetching(config), *_training(config), *_scoring(config)]


def memory_gb(model: Model, recipe: Recipe) -> dict[str, float] | None:
    """Memory of one GPU in training by part, in GB; None if a size of the model is unknown.

    ZeRO-2 divides gradients and optimizer among the GPUs, ZeRO-3 the weights too. The activations are those
    of one micro-batch of the longest conversations. The loss stores no logits.
    """
    sizes = model.planning
    if sizes.parameters is None or sizes.hidden is None or sizes.layers is None:
        return None
    divided = {
        "weights": model.zero_stage == 3,
        "gradients": model.zero_stage >= 2,
        "optimizer": model.zero_stage >= 2,
    }
    states = {
        part: bytes_ * sizes.parameters / (model.training_world if divided[part] else 1) / GB
        for part, bytes_ in STATE_BYTES.items()
    }
    units = recipe.micro_batch_size * recipe.max_length * sizes.hidden / GB
    checkpointed = 2 * sizes.layers + LAYER_BYTES
    bytes_per_unit = checkpointed if recipe.gradient_checkpointing else LAYER_BYTES * sizes.layers
    return {**states, "activations": bytes_per_unit * units}


def _fetching(config: Config) -> JobEstimate:
    models = [config.models[name] for name, _ in grid.base_models(grid.blocks(config))]
    sizes = [model.planning.parameters for model in models]
    disk = _total(None if size is None else STATE_BYTES["weights"] * size / GB for size in sizes)
    return JobEstimate("fetch", "models", len(models), 0.0, None, disk)


def _training(config: Config) -> Iterator[JobEstimate]:
    jobs: dict[tuple[str, str, str], int] = {}
    for names in grid.checkpoints(grid.blocks(config), tuned=True):
        key = (names["model"], names["data"], names["recipe"])
        jobs[key] = jobs.get(key, 0) + len(config.recipes[names["recipe"]].learning_rates)
    for (name, data, recipe), count in sorted(jobs.items()):
        model = config.models[name]
        parameters = model.planning.parameters
        hours = training_hours(config, model, config.data[data], config.recipes[recipe])
        longest = None if hours is None else hours / model.training_world
        yield JobEstimate(
            "finetune",
            f"{name} on {data}, {recipe}",
            count,
            None if hours is None else count * hours,
            longest,
            None if parameters is None else count * STATE_BYTES["weights"] * parameters / GB,
            _over_limit(longest, model.training_minutes),
        )


def training_hours(config: Config, model: Model, data: Data, recipe: Recipe) -> float | None:
    """GPU-hours of one fine-tuning job; None if a size is unknown."""
    parameters, length = model.planning.parameters, data.planning.tokens
    rows = min(filter(None, (data.rows, data.planning.size)), default=None)
    if parameters is None or rows is None or length is None:
        return None
    tokens = rows * (1 - float(data.heldout)) * min(length, recipe.max_length) * float(recipe.epochs)
    recomputation = 4 / 3 if recipe.gradient_checkpointing else 1
    speed = config.planning.gpu_tflops * 1e12 * config.planning.training_share
    return 6 * parameters * tokens * recomputation / speed / HOUR


def _scoring(config: Config) -> Iterator[JobEstimate]:
    cells = grid.cells(grid.blocks(config))
    batch_of = {(name, code): number for name, number, codes in grid.batches(config) for code in codes}
    for name in sorted({cell.model for cell in cells}):
        model, disk = config.models[name], 0.0
        hours: dict[tuple[object, ...], float] = {}
        complete = model.planning.parameters is not None
        for cell in (cell for cell in cells if cell.model == name):
            benchmark = config.benchmarks[cell.benchmark]
            job = (*astuple(cell)[:-1], batch_of[cell.benchmark, cell.language])
            hours.setdefault(job, config.planning.load_seconds / HOUR)
            questions = _questions(benchmark)
            record = _scoring_hours(config, model, benchmark, config.protocols[cell.protocol].num_fewshot)
            if questions is None or record is None:
                complete = False
                continue
            hours[job] += record
            disk += questions * RECORD_BYTES / GB
        longest = max(hours.values()) if complete else None
        yield JobEstimate(
            "score",
            name,
            len(hours),
            sum(hours.values()) * max(model.scoring_gpus, 1) if complete else None,
            longest,
            disk if complete else None,
            _over_limit(longest, model.scoring_minutes),
        )


def _questions(benchmark: Benchmark) -> int | None:
    return min(filter(None, (benchmark.limit, benchmark.planning.questions)), default=None)


def _scoring_hours(config: Config, model: Model, benchmark: Benchmark, num_fewshot: int) -> float | None:
    """Hours of scoring one language, without loading the model; None if a size is unknown."""
    questions, length, parameters = (
        _questions(benchmark),
        benchmark.planning.tokens,
        model.planning.parameters,
    )
    if questions is None or length is None or parameters is None:
        return None
    tokens = questions * length * (1 + num_fewshot)
    speed = config.planning.gpu_tflops * 1e12 * config.planning.scoring_share
    return 2 * parameters * tokens / speed / HOUR


def _over_limit(hours: float | None, minutes: int) -> str:
    over = hours is not None and hours * 60 > minutes
    return f"longer than its limit of {minutes} minutes" if over else ""


def _total(values: Iterable[float | None]) -> float | None:
    """The sum; None if one value is unknown."""
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def table(config: Config) -> str:
    """The estimate as text: assumptions, one line per kind of job, sums, memory per GPU of trained models."""
    assumed = config.planning
    lines = [
        f"Assumed: {assumed.gpu_tflops:g} TFLOP/s per GPU, {assumed.training_share:.0%} of them reached in"
        f" training and {assumed.scoring_share:.0%} in scoring, {assumed.load_seconds:g} s to load a model."
        " Change them under 'planning'.",
        "",
        f"{'stage':9} {'what':42} {'jobs':>6} {'GPU-hours':>10} {'longest h':>10} {'disk GB':>9}",
    ]
    estimates = estimate(config)
    lines += [f"{_row(line)}  {line.note}".rstrip() for line in estimates]
    hours, disk = _total(line.gpu_hours for line in estimates), _total(line.disk_gb for line in estimates)
    lines.append(_row(JobEstimate("all", "", sum(line.jobs for line in estimates), hours, None, disk)))
    if hours is None:
        lines.append(
            "?: unknown; give, under 'planning', 'parameters' of the model, 'size' and 'tokens' of data,"
            " 'questions' and 'tokens' of benchmarks."
        )
    return "\n".join([*lines, *_memory_lines(config)])


def _memory_lines(config: Config) -> Iterator[str]:
    trained = {
        (m, r) for block in config.grid.blocks() if block.data for m in block.models for r in block.recipes
    }
    for model, recipe in sorted(trained):
        parts = memory_gb(config.models[model], config.recipes[recipe])
        if parts:
            shown = " + ".join(f"{value:.1f} {name}" for name, value in parts.items())
            yield f"{model}, {recipe}: {sum(parts.values()):.0f} GB per GPU in training ({shown})"


def _row(line: JobEstimate) -> str:
    hours, disk = ("?" if value is None else f"{value:,.1f}" for value in (line.gpu_hours, line.disk_gb))
    longest = "" if line.longest is None else f"{line.longest:.1f}"
    return f"{line.stage:9} {line.what:42} {line.jobs:6} {hours:>10} {longest:>10} {disk:>9}"
