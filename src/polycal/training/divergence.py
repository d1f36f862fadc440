"""Training that diverges: what is looked at after each step, and the error that ends the cell.

Nothing of a step that is not finite is saved.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from polycal.data import model_loading
from polycal.errors import CellError


class DivergenceError(CellError):
    """A training whose loss, gradient or weights are not finite; the message names the cell and the step."""


def not_finite(logs: Mapping[str, float], skipped_steps: int, weights_are_finite: bool) -> list[str]:
    """What is not finite after a step, given the Trainer's log of it.

    DeepSpeed reports a gradient norm that is not finite as −1, or skips the step.
    """
    gradient = logs.get("grad_norm", 0.0)
    finite = {
        "the loss": math.isfinite(logs["loss"]) and math.isfinite(logs["nll"]),
        "the gradient": math.isfinite(gradient) and gradient >= 0 and not skipped_steps,
        "the weights": weights_are_finite,
    }
    return [name for name, is_finite in finite.items() if not is_finite]


def error(
    cell: Path,
    steps: tuple[int, int],
    learning_rate: float,
    what: Sequence[str],
    history: Iterable[Mapping[str, Any]],
) -> DivergenceError:
    """The error for ``what`` is not finite after ``steps`` = (done, all). ``history`` is the log of finite steps."""
    losses = [entry["loss"] for entry in history if "nll" in entry]
    last = f"the last finite loss was {losses[-1]:.4f}" if losses else "no step had a finite loss"
    return DivergenceError(
        f"{cell}: training diverged in step {steps[0]} of {steps[1]} at learning rate {learning_rate:g}:"
        f" {' and '.join(what)} became NaN or infinite, {last}; choose a lower learning rate or a longer warm-up."
    )


def are_finite(parameters: Iterable[Any]) -> bool:
    """Whether all weights are finite; of a parameter that ZeRO-3 partitioned, this rank's part."""
    return model_loading.are_finite(getattr(p, "ds_tensor", p).detach() for p in parameters)
