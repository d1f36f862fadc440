"""What the finished jobs of a study cost, from the manifests of their results.

A result counts as finished if its file is there. ``polycal status`` says which of them a run would make again.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from polycal.artifacts import manifests
from polycal.artifacts.manifests import ManifestError
from polycal.study import grid, paths
from polycal.study.config import Config
from polycal.study.grid import Cell

Key = tuple[str, str, str]


@dataclass(frozen=True)
class FinishedJobs:
    """The results of a study that exist, and what they cost."""

    trainings: set[tuple[str, ...]] = field(default_factory=set)
    """The values of CHECKPOINT_KEYS and the learning rate of each finished training."""
    records: set[Cell] = field(default_factory=set)
    """The cells of the finished score records."""
    training_seconds: dict[Key, list[float]] = field(default_factory=dict)
    """Seconds of each finished training, by model, data and recipe. One that was interrupted is not among them,
    because its manifest has the time of its last part only."""
    question_seconds: dict[Key, list[float]] = field(default_factory=dict)
    """Seconds per question of each finished record, by model, benchmark and protocol."""


def read(config: Config, folder: Path = Path()) -> FinishedJobs:
    """The finished jobs of the study ``config`` below ``folder``. A broken manifest is passed over."""
    found = FinishedJobs()
    blocks = grid.blocks(config)
    for names in grid.checkpoints(blocks, tuned=True):
        for rate in config.recipes[names["recipe"]].learning_rates:
            manifest = _manifest(folder / paths.FINETUNED.format(**names, lr=rate))
            if manifest:
                found.trainings.add((*names.values(), rate))
                if manifest.get("resumed_at") is None:
                    key = (names["model"], names["data"], names["recipe"])
                    _note(found.training_seconds, key, manifest.get("cost", {}).get("wall_seconds"))
    for cell in grid.cells(blocks):
        manifest = _manifest(folder / paths.SCORES.format(**asdict(cell)))
        if manifest:
            found.records.add(cell)
            seconds, questions = manifest.get("seconds"), manifest.get("questions")
            key = (cell.model, cell.benchmark, cell.protocol)
            _note(found.question_seconds, key, seconds / questions if seconds and questions else None)
    return found


def typical(values: Sequence[float]) -> float:
    """The median, because one job on a busy machine must not change a plan."""
    return statistics.median(values)


def correction(
    measured: Mapping[Key, Sequence[float]], assumed: Mapping[Key, float | None], model: str
) -> float | None:
    """The median ratio of measured to assumed time over the jobs of ``model``; None if none can be compared."""
    ratios = [
        typical(values) / expected
        for key, values in sorted(measured.items())
        if key[0] == model and (expected := assumed.get(key))
    ]
    return typical(ratios) if ratios else None


def _manifest(path: Path) -> dict[str, Any]:
    try:
        return manifests.read(path) if path.is_file() else {}
    except ManifestError:
        return {}


def _note(seconds: dict[Key, list[float]], key: Key, value: float | None) -> None:
    if value is not None:
        seconds.setdefault(key, []).append(value)
