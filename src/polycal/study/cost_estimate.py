"""Estimates the cost of a study: jobs, GPU-hours, memory of a GPU, and disk.

Where jobs of a study are finished, their time is the time of the jobs that are left. Elsewhere the time is
arithmetic from a share of the GPU's peak, which is measured (``polycal.study.gpu_benchmark``) or assumed: training needs 6 floating-point operations per parameter and token (Kaplan
et al., arXiv 2001.08361, section 2.1), and a third more if activations are recomputed. Scoring needs 2.
"""

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass

from polycal.artifacts.candidate_forms import P_TRUE
from polycal.study import finished_jobs, grid
from polycal.study.config import Config
from polycal.study.config_catalogues import Data, Model, Recipe
from polycal.study.finished_jobs import FinishedJobs
from polycal.study.gpu_benchmark import MeasuredShares, Share
from polycal.study.grid import Cell

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
HOUR = 3600.0
GB = 1e9


ASSUMED = "assumed"
MEASURED = "measured on"
Key = tuple[str, str, str]


@dataclass(frozen=True)
class JobEstimate:
    """Jobs of one kind. A value is None if a size on which it depends is unknown."""

    stage: str
    what: str
    jobs: int
    gpus: int
    """GPUs of one job."""
    hours: tuple[float, ...] | None
    """Hours of each job."""
    left: tuple[float, ...] | None
    """Hours of each job whose results do not exist."""
    done: int
    """Number of jobs whose results exist."""
    disk_gb: float | None
    """Disk of all jobs."""
    limit_hours: float | None = None
    origin: str = ""
    """Where the hours come from."""
    note: str = ""

    @property
    def gpu_hours(self) -> float | None:
        """GPU-hours of all jobs."""
        if not self.gpus:
            return 0.0
        return None if self.hours is None else sum(self.hours) * self.gpus

    @property
    def longest(self) -> float | None:
        """Hours of the longest job."""
        return max(self.hours, default=0.0) if self.hours is not None else None


def estimate(
    config: Config, finished: FinishedJobs | None = None, shares: MeasuredShares | None = None
) -> list[JobEstimate]:
    """Fetched models, trainings of each model, data set and recipe, and scoring of each model.

    The jobs that measure and report need no GPU. Their rules limit memory and time: 8 GB and 2 hours.
    """
    done, measured = finished or FinishedJobs(), shares or MeasuredShares()
    return [_fetching(config), *_training(config, done, measured), *_scoring(config, done, measured)]


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
    tokens = max(recipe.tokens_per_micro_batch or 0, (recipe.micro_batch_size or 1) * recipe.max_length)
    units = tokens * sizes.hidden / GB
    checkpointed = 2 * sizes.layers + LAYER_BYTES
    bytes_per_unit = checkpointed if recipe.gradient_checkpointing else LAYER_BYTES * sizes.layers
    return {**states, "activations": bytes_per_unit * units}


def _fetching(config: Config) -> JobEstimate:
    models = [config.models[name] for name, _ in grid.base_models(grid.blocks(config))]
    sizes = [model.planning.parameters for model in models]
    disk = None if None in sizes else sum(STATE_BYTES["weights"] * (size or 0) / GB for size in sizes)
    return JobEstimate("fetch", "models", len(models), 0, None, None, 0, disk)


def _training(config: Config, finished: FinishedJobs, shares: MeasuredShares) -> Iterator[JobEstimate]:
    jobs: dict[Key, list[bool]] = {}
    for names in grid.checkpoints(grid.blocks(config), tuned=True):
        key = (names["model"], names["data"], names["recipe"])
        for rate in config.recipes[names["recipe"]].learning_rates:
            jobs.setdefault(key, []).append((*names.values(), rate) in finished.trainings)
    share_of = {key: shares.of_training(config.recipes[key[2]]) for key in jobs}
    assumed = {key: _assumed_seconds(config, key, share) for key, share in share_of.items()}
    for (name, data, recipe), done in sorted(jobs.items()):
        model, rates = config.models[name], len(config.recipes[recipe].learning_rates)
        parameters = model.planning.parameters
        seconds, origin = _time((name, data, recipe), finished.training_seconds, assumed, share_of)
        hours = None if seconds is None else seconds / HOUR
        yield JobEstimate(
            "finetune",
            f"{name} on {data}, {recipe}",
            len(done),
            model.training_gpus * model.training_nodes,
            None if hours is None else (hours,) * len(done),
            None if hours is None else (hours,) * done.count(False),
            done.count(True),
            None if parameters is None else len(done) * STATE_BYTES["weights"] * parameters / GB,
            model.training_minutes / 60,
            origin,
            f"{len(done) // rates} checkpoints × {rates} learning rates" if rates > 1 else "",
        )


def _time(
    key: Key,
    measured: Mapping[Key, list[float]],
    assumed: Mapping[Key, float | None],
    share_of: Mapping[Key, Share | None],
) -> tuple[float | None, str]:
    """The time of one job or question, and its origin: finished ones, those of the same model, or assumptions."""
    if own := measured.get(key):
        return finished_jobs.typical(own), f"{MEASURED} {len(own)} finished"
    expected, ratio = assumed[key], finished_jobs.correction(measured, assumed, key[0])
    if expected is None or ratio is None:
        share = share_of[key]
        return expected, "" if expected is None else ASSUMED if share is None else share.origin
    return expected * ratio, f"{ratio:.2g} times the assumed time, as measured on {key[0]}"


def _assumed_seconds(config: Config, key: Key, share: Share | None) -> float | None:
    """Seconds of one training by the assumptions, with the measured share of the peak if there is one; None if a size is unknown or the model is trained on a CPU."""
    model = config.models[key[0]]
    hours = training_hours(config, model, config.data[key[1]], config.recipes[key[2]])
    if hours is not None and share is not None:
        hours *= config.planning.training_share / share.value
    return None if hours is None or not model.training_gpus else hours * HOUR / model.training_world


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


def _scoring(config: Config, finished: FinishedJobs, shares: MeasuredShares) -> Iterator[JobEstimate]:
    cells = grid.cells(grid.blocks(config))
    batch_of = {(name, code): number for name, number, codes in grid.batches(config) for code in codes}
    keys = {(cell.model, cell.benchmark, cell.protocol) for cell in cells}
    share_of = {key: shares.of_scoring(config.protocols[key[2]]) for key in keys}
    assumed = {key: _assumed_question(config, key, share) for key, share in share_of.items()}
    times = {key: _time(key, finished.question_seconds, assumed, share_of) for key in keys}
    for name in sorted({cell.model for cell in cells}):
        jobs: dict[tuple[object, ...], list[Cell]] = {}
        for cell in (cell for cell in cells if cell.model == name):
            jobs.setdefault((*astuple(cell)[:-1], batch_of[cell.benchmark, cell.language]), []).append(cell)
        yield _scoring_of(config, name, list(jobs.values()), finished, times)


def _scoring_of(
    config: Config,
    name: str,
    jobs: list[list[Cell]],
    finished: FinishedJobs,
    times: Mapping[Key, tuple[float | None, str]],
) -> JobEstimate:
    """The scoring jobs of one model; ``times`` has the seconds per question and their origin."""
    model, questions = config.models[name], {key: grid.questions(config, key) for key in config.benchmarks}
    hours: list[float] | None = []
    for job in jobs:
        seconds = [times[cell.model, cell.benchmark, cell.protocol][0] for cell in job]
        counts = [questions[cell.benchmark] for cell in job]
        if None in seconds or None in counts or hours is None:
            hours = None
            break
        work = sum(one * count for one, count in zip(seconds, counts, strict=True) if one and count)
        hours.append((config.planning.load_seconds + work) / HOUR)
    left = [not finished.records.issuperset(job) for job in jobs]
    sizes = [questions[cell.benchmark] for job in jobs for cell in job]
    keys = {(cell.model, cell.benchmark, cell.protocol) for job in jobs for cell in job}
    measured = sum(len(finished.question_seconds.get(key, [])) for key in keys)
    others = {times[key][1] for key in keys if key not in finished.question_seconds} - {""}
    return JobEstimate(
        "score",
        name,
        len(jobs),
        model.scoring_gpus,
        None if hours is None else tuple(hours),
        None if hours is None else tuple(hour for hour, needed in zip(hours, left, strict=True) if needed),
        left.count(False),
        None if None in sizes else sum(size or 0 for size in sizes) * RECORD_BYTES / GB,
        model.scoring_minutes / 60,
        "; ".join([f"{MEASURED} {measured} records"] * bool(measured) + sorted(others)),
    )


def _assumed_question(config: Config, key: Key, measured: Share | None) -> float | None:
    """Seconds per question by the assumptions, with the measured share of the peak if there is one; None if a size is unknown or the model is scored on a CPU."""
    model, benchmark, protocol = config.models[key[0]], config.benchmarks[key[1]], config.protocols[key[2]]
    length, parameters = benchmark.planning.tokens, model.planning.parameters
    if length is None or parameters is None or not model.scoring_gpus:
        return None
    more = PROPOSAL_TOKENS if protocol.candidates in P_TRUE else 0
    tokens = (length + more) * (1 + protocol.num_fewshot) * protocol.rotations
    # a follow-up reads the question again, with its examples
    tokens += (length + PROPOSAL_TOKENS) * (1 + protocol.num_fewshot) if protocol.follow_up else 0
    share = config.planning.scoring_share if measured is None else measured.value
    speed = config.planning.gpu_tflops * 1e12 * share
    return 2 * parameters * tokens / speed
