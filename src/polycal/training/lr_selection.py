"""Selection of a cell's learning rate: which of the trained checkpoints is scored, and why.

The paper names four learning rates and no rule for choosing one (arXiv 2601.01362). The rule here is the lowest
unsmoothed loss per target token on held-out conversations. It judges every β by the same measure and uses no
benchmark. Of equal losses the lower learning rate is chosen.
"""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from polycal.artifacts import checkpoints, files, manifests
from polycal.artifacts.manifests import Stamp
from polycal.errors import PolycalError

RULE = "lowest unsmoothed loss per target token of held-out conversations; of equal losses the lower learning rate"


class SelectionError(PolycalError):
    """Checkpoints among which no choice can be made; the message names the manifest."""


def select_lr(cell: Mapping[str, Any], *, manifests: Sequence[Path], out: Path, stamp: Stamp) -> None:
    """Write to ``out`` which checkpoint is scored: its manifest relative to ``out``, and the losses in nats.

    ``cell["learning_rates"]`` are the rates of ``manifests``, in the same order. Raises SelectionError if a
    manifest has another learning rate or no finite ``heldout_nll``.
    """
    losses = heldout_losses(cell["learning_rates"], manifests)
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


def input_checksums(cell: Mapping[str, Any], *, manifests: Sequence[Path]) -> dict[str, str]:
    """Learning rate → checksum of its weights, followed by the held-out loss by which the rate is chosen.

    Raises SelectionError as ``select_lr`` does, and CheckpointError if weights are missing.
    """
    losses = heldout_losses(cell["learning_rates"], manifests)
    return {
        rate: f"{checkpoints.read(path).content} {loss}"
        for (rate, loss), path in zip(losses.items(), manifests, strict=True)
    }


def heldout_losses(rates: Sequence[str], paths: Sequence[Path]) -> dict[str, float]:
    """Learning rate → held-out loss of its manifest, in nats; raises SelectionError as ``select_lr`` does."""
    if len(rates) != len(paths):
        raise SelectionError(f"{len(rates)} learning rates but {len(paths)} manifests; give one for each.")
    return {rate: _loss(path, rate) for rate, path in zip(rates, paths, strict=True)}


def _loss(path: Path, rate: str) -> float:
    manifest = manifests.read(path)
    if (trained := manifest["cell"]["lr"]) != rate:
        raise SelectionError(
            f"{path}: trained with learning rate {trained}, but {rate} is expected in this position."
        )
    loss = manifest.get("heldout_nll")
    if loss is None:
        raise SelectionError(
            f"{path}: no held-out loss to choose by; give the data a 'heldout' above 0 and rows enough for it,"
            " or the recipe one learning rate."
        )
    if not math.isfinite(loss):
        raise SelectionError(f"{path}: the held-out loss is {loss}; leave learning rate {rate} out.")
    return float(loss)
