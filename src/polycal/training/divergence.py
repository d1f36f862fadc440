"""Training that diverges: what is checked after each step, and the error that ends the cell.

The check runs before the training state is saved, so that a state with NaN or infinity is never saved.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from polycal.data import model_loading
from polycal.errors import CellError


class DivergenceError(CellError):
    """The loss, gradient or weights of a training are not finite. The message names the cell and the step."""


def not_finite(logs: Mapping[str, float], skipped_steps: int, weights_are_finite: bool) -> list[str]:
    """The quantities that are not finite after a step, as phrases for the message of DivergenceError.

    ``logs`` is the Trainer's log of the step. ``skipped_steps`` is the number of steps that DeepSpeed skipped.
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
    """The error that says which quantities, ``what``, are not finite.

    ``steps`` is the number of the current step and of all steps. ``history`` is the Trainer's log of the finite
    steps.
    """
    losses = [entry["loss"] for entry in history if "nll" in entry]
    last = f"the last finite loss was {losses[-1]:.4f}" if losses else "no step had a finite loss"
    return DivergenceError(
        f"{cell}: training diverged in step {steps[0]} of {steps[1]} at learning rate {learning_rate:g}:"
        f" {' and '.join(what)} became NaN or infinite, {last}; choose a lower learning rate or a longer warm-up."
    )


def are_finite(parameters: Iterable[Any]) -> bool:
    """Whether all weights are finite. Of parameters that ZeRO-3 partitions, only this rank's part is checked."""
    return model_loading.are_finite(getattr(p, "ds_tensor", p).detach() for p in parameters)
