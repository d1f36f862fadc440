"""Estimates the cost of a study before anything runs: jobs, GPU-hours, calendar time, memory of a GPU, and disk.

The estimate is arithmetic from stated assumptions, not a measurement. Training needs 6 floating-point operations
per parameter and token (Kaplan et al., arXiv 2001.08361, section 2.1), and a third more if activations are
recomputed. Scoring needs 2.
"""

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass

from polycal.artifacts.candidate_forms import P_TRUE
from polycal.study import grid
from polycal.study.config import Config
from polycal.study.config_catalogues import Benchmark, Data, Model, Protocol, Recipe

STATE_BYTES = {"weights": 2, "gradients": 2, "optimizer": 12}
"""Bytes per parameter with AdamW in bfloat16. The optimizer holds a float32 copy of the weights and two moments
(Rajbhandari et al., arXiv 1910.02054, section 3.1)."""
LAYER_BYTES = 34
"""Bytes of activations per layer, token and hidden unit without recomputation, and without the attention matrix
(Korthikanti et al., arXiv 2205.05198, equation 2)."""
PROPOSAL_TOKENS = 200
"""Tokens per question that P(True) reads besides it: about 25 in each of two orders for each of four options."""
RECORD_BYTES = 150
"""Bytes per question of a compressed score record."""
CLUSTERS = (8, 32, 128)
"""Numbers of GPUs for which the calendar time is estimated."""
HOUR = 3600.0
GB = 1e9


@dataclass(frozen=True)
class JobEstimate:
    """Jobs of one kind: their number, GPUs per job, GPU-hours of all, hours of the longest, and disk of all.

    A value is None if a size on which it depends is unknown.
    """

    stage: str
    what: str
    jobs: int
    gpus: int
    gpu_hours: float | None
    longest: float | None
    disk_gb: float | None
    note: str = ""


def estimate(config: Config) -> list[JobEstimate]:
    """Fetched models, trainings of each model, data set and recipe, scoring of each model, and the jobs on CPUs."""
    return [_fetching(config), *_training(config), *_scoring(config), *_on_cpus(config)]


def memory_gb(model: Model, recipe: Recipe) -> dict[str, float] | None:
    """Memory of one GPU in training by part, in GB; None if a size of the model is unknown.

    ZeRO-2 partitions gradients and optimizer over the GPUs; ZeRO-3 also partitions the weights. The activations
    are those of one micro-batch of the longest conversations. The loss stores no logits.
    """
    sizes = model.planning
    if sizes.parameters is None or sizes.hidden is None or sizes.layers is None:
        return None
    partitioned = {
        "weights": model.zero_stage == 3,
        "gradients": model.zero_stage >= 2,
        "optimizer": model.zero_stage >= 2,
    }
    states = {
        part: bytes_ * sizes.parameters / (model.training_world if partitioned[part] else 1) / GB
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
    return JobEstimate("fetch", "models", len(models), 0, 0.0, None, disk)


def _training(config: Config) -> Iterator[JobEstimate]:
    jobs: dict[tuple[str, str, str], int] = {}
    for names in grid.checkpoints(grid.blocks(config), tuned=True):
        key = (names["model"], names["data"], names["recipe"])
        jobs[key] = jobs.get(key, 0) + len(config.recipes[names["recipe"]].learning_rates)
    for (name, data, recipe), count in sorted(jobs.items()):
        model, rates = config.models[name], len(config.recipes[recipe].learning_rates)
        parameters = model.planning.parameters
        hours = training_hours(config, model, config.data[data], config.recipes[recipe])
        longest = None if hours is None else hours / model.training_world
        yield JobEstimate(
            "finetune",
            f"{name} on {data}, {recipe}",
            count,
            model.training_gpus * model.training_nodes,
            None if hours is None else count * hours,
            longest,
            None if parameters is None else count * STATE_BYTES["weights"] * parameters / GB,
            "; ".join(
                filter(
                    None,
                    [
                        f"{count // rates} checkpoints × {rates} learning rates" if rates > 1 else "",
                        _over_limit(longest, model.training_minutes),
                    ],
                )
            ),
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
            record = _scoring_hours(config, model, benchmark, config.protocols[cell.protocol])
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
            model.scoring_gpus,
            sum(hours.values()) * max(model.scoring_gpus, 1) if complete else None,
            longest,
            disk if complete else None,
            _over_limit(longest, model.scoring_minutes),
        )


def _on_cpus(config: Config) -> Iterator[JobEstimate]:
    """The jobs that measure and report. Their rules give the limits of memory and time."""
    probes = sum(part is not None for part in (config.embeddings, config.next_token, config.generation))
    yield JobEstimate(
        "measure", "tables of the study", 1 + probes, 0, 0.0, None, 0.0, "on CPUs, up to 8 GB and 2 h"
    )
    yield JobEstimate("report", "figures and page", 1, 0, 0.0, None, 0.0, "on CPUs, up to 4 GB and 1 h")


def calendar_days(estimates: Iterable[JobEstimate], gpus: int) -> float | None:
    """Days that a study needs if ``gpus`` GPUs are always busy; None if a size is unknown.

    It needs at least the longest training and the longest scoring job, one after the other.
    """
    longest: dict[str, float] = {}
    total = 0.0
    for line in estimates:
        if line.gpu_hours is None:
            return None
        total += line.gpu_hours
        longest[line.stage] = max(longest.get(line.stage, 0.0), line.longest or 0.0)
    return max(total / gpus, sum(longest.values())) / 24


def _questions(benchmark: Benchmark) -> int | None:
    return min(filter(None, (benchmark.limit, benchmark.planning.questions)), default=None)


def _scoring_hours(config: Config, model: Model, benchmark: Benchmark, protocol: Protocol) -> float | None:
    """Hours of scoring one language, without loading the model; None if a size is unknown."""
    questions, length, parameters = (
        _questions(benchmark),
        benchmark.planning.tokens,
        model.planning.parameters,
    )
    if questions is None or length is None or parameters is None:
        return None
    more = PROPOSAL_TOKENS if protocol.candidates in P_TRUE else 0
    tokens = questions * (length + more) * (1 + protocol.num_fewshot) * protocol.rotations
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
    """The estimate as text: assumptions, a line for each kind of job, sums, calendar time, memory of training."""
    assumed = config.planning
    lines = [
        f"Assumed: {assumed.gpu_tflops:g} TFLOP/s per GPU, of which training achieves {assumed.training_share:.0%}"
        f" and scoring {assumed.scoring_share:.0%}; {assumed.load_seconds:g} s to load a model."
        " Change this under 'planning'. Results that exist are counted, too: 'polycal status' lists the jobs"
        " that are left.",
        "",
        f"{'stage':9} {'what':42} {'jobs':>6} {'GPUs/job':>8} {'GPU-hours':>10} {'longest h':>10} {'disk GB':>9}",
    ]
    estimates = estimate(config)
    lines += [f"{_row(line)}  {line.note}".rstrip() for line in estimates]
    hours, disk = _total(line.gpu_hours for line in estimates), _total(line.disk_gb for line in estimates)
    lines.append(_row(JobEstimate("all", "", sum(line.jobs for line in estimates), 0, hours, None, disk)))
    if hours is None:
        lines.append(
            "?: unknown; give, under 'planning', 'parameters' of the model, 'size' and 'tokens' of data,"
            " 'questions' and 'tokens' of benchmarks."
        )
    elif hours:
        estimated = [(gpus, calendar_days(estimates, gpus)) for gpus in CLUSTERS]
        days = ", ".join(
            f"{value:,.1f} days with {gpus} GPUs" for gpus, value in estimated if value is not None
        )
        lines.append(f"Calendar time if all GPUs are always busy: {days}.")
    if probes := _probe_jobs(config):
        lines.append(f"Not estimated: {probes}.")
    return "\n".join([*lines, *_memory_lines(config)])


def _probe_jobs(config: Config) -> str:
    """The jobs of embeddings, next tokens and generated answers in words; empty if the study has none."""
    blocks, jobs = grid.blocks(config), []
    if chosen := config.embeddings:
        pair = (chosen.benchmark, chosen.protocol)
        scored = [cell for cell in grid.cells(blocks) if (cell.benchmark, cell.protocol) == pair]
        jobs.append(f"{len({tuple(cell.checkpoint.values()) for cell in scored})} jobs that embed prompts")
    if config.next_token:
        count = len(grid.checkpoints(blocks)) * len(grid.heldout_data(config))
        jobs.append(f"{count} jobs that score next tokens")
    if config.generation:
        count = len(grid.checkpoints(blocks)) * len(grid.generation_batches(config))
        jobs.append(f"{count} jobs that generate answers")
    return " and ".join(jobs)


def _memory_lines(config: Config) -> Iterator[str]:
    trained = {
        (model, recipe)
        for block in config.grid.blocks()
        if block.data
        for model in block.models
        for recipe in block.recipes
    }
    for model, recipe in sorted(trained):
        parts = memory_gb(config.models[model], config.recipes[recipe])
        if parts:
            shown = " + ".join(f"{value:.1f} {name}" for name, value in parts.items())
            yield f"{model}, {recipe}: {sum(parts.values()):.0f} GB per GPU in training ({shown})"


def _row(line: JobEstimate) -> str:
    hours, disk = ("?" if value is None else f"{value:,.1f}" for value in (line.gpu_hours, line.disk_gb))
    longest = "" if line.longest is None else f"{line.longest:.1f}"
    gpus = str(line.gpus or "")
    return f"{line.stage:9} {line.what:42} {line.jobs:6} {gpus:>8} {hours:>10} {longest:>10} {disk:>9}"
