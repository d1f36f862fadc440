"""The learning rate of a cell: which of those trained is scored, and why.

The paper names four learning rates and no rule (arXiv 2601.01362). The rule here: the lowest loss of a target
token of held-out conversations, without smoothing, so that every β is judged by the same measure and no
benchmark is seen; of equal losses the lower learning rate.
"""

import json
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from polycal.artifacts import files
from polycal.artifacts.manifests import Stamp
from polycal.errors import PolycalError

RULE = (
    "lowest unsmoothed loss a target token of held-out conversations; of equal ones the lower learning rate"
)


class SelectionError(PolycalError):
    """Checkpoints among which nothing can be chosen; the message names the manifest."""


def select(cell: Mapping[str, Any], manifests: Sequence[Path], out: Path, stamp: Stamp) -> None:
    """Write to ``out`` which of ``manifests`` is scored: its path beside ``out``, and each one's loss in nats.

    ``cell["learning_rates"]`` are those of the manifests, in order. Raises SelectionError for a manifest of
    another learning rate, or one without a finite ``heldout_nll``.
    """
    losses = held_out(cell["learning_rates"], manifests)
    best = min(losses, key=lambda rate: (losses[rate], Decimal(rate)))
    others = ", ".join(f"{loss:.6f} at {rate}" for rate, loss in losses.items() if rate != best)
    chosen = manifests[list(losses).index(best)]
    files.write_json(
        out,
        {
            **stamp(),
            "cell": dict(cell),
            "lr": best,
            "manifest": str(chosen.absolute().relative_to(out.absolute().parent)),
            "rule": RULE,
            "heldout_nll": losses,
            "why": f"held-out loss {losses[best]:.6f} at {best}, against {others}",
        },
    )


def held_out(rates: Sequence[str], manifests: Sequence[Path]) -> dict[str, float]:
    """Learning rate → held-out loss of its manifest; raises SelectionError as ``select`` does."""
    if len(rates) != len(manifests):
        raise SelectionError(
            f"{len(rates)} learning rates but {len(manifests)} manifests; give one for each."
        )
    return {rate: _loss(path, rate) for rate, path in zip(rates, manifests, strict=True)}


def _loss(path: Path, rate: str) -> float:
    said = json.loads(path.read_text())
    if (trained := said["cell"]["lr"]) != rate:
        raise SelectionError(f"{path}: trained with learning rate {trained}, but {rate} was to stand there.")
    loss = said.get("heldout_nll")
    if loss is None:
        raise SelectionError(
            f"{path}: no held-out loss to choose by; give the data a 'heldout' above 0 and rows enough for it,"
            " or the recipe one learning rate."
        )
    if not math.isfinite(loss):
        raise SelectionError(f"{path}: the held-out loss is {loss}; leave learning rate {rate} out.")
    return float(loss)
