"""Selection of a cell's learning rate: which of the trained checkpoints is scored, and why.

The paper names four learning rates, but no rule for choosing one (arXiv 2601.01362). The rule here is the lowest
unsmoothed loss per target token on held-out conversations. It is the same measure for every β and uses no
benchmark. If losses are equal, the lower learning rate is chosen.
"""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from polycal.artifacts import checkpoints, failures, files, manifests
from polycal.artifacts.manifests import Stamp
from polycal.errors import CellError, PolycalError

RULE = "lowest unsmoothed loss per target token of held-out conversations; of equal losses the lower learning rate"


class SelectionError(PolycalError):
    """No learning rate can be chosen. The message names the manifest and says why."""


class NoRateError(SelectionError, CellError):
    """The training of a cell failed at every learning rate."""


def select_lr(cell: Mapping[str, Any], *, manifests: Sequence[Path], out: Path, stamp: Stamp) -> None:
    """Write to ``out`` which checkpoint is scored, and why.

    ``out`` contains the path of the chosen manifest relative to its own folder, and the held-out losses in nats per
    target token. ``cell["learning_rates"]`` contains the rates of ``manifests``, in the same order. Rates whose
    training failed are not candidates; they are listed with the reason. Raises SelectionError if a manifest has
    another learning rate or no finite ``heldout_nll``, and NoRateError if every training failed.
    """
    rates = cell["learning_rates"]
    losses, failed = heldout_losses(rates, manifests), failed_rates(rates, manifests)
    if not losses:
        reasons = "; ".join(f"{rate}: {reason}" for rate, reason in failed.items())
        raise NoRateError(f"{out}: the training failed at every learning rate: {reasons}")
    best = min(losses, key=lambda rate: (losses[rate], Decimal(rate)))
    others = [f"{loss:.6f} at {rate}" for rate, loss in losses.items() if rate != best]
    others += [f"a failed training at {rate}" for rate in failed]
    chosen = manifests[rates.index(best)]
    files.write_json(
        out,
        {
            **stamp(),
            "cell": dict(cell),
            "lr": best,
            "manifest": str(chosen.absolute().relative_to(out.absolute().parent)),
            "rule": RULE,
            "heldout_nll": losses,
            **({"failed": failed} if failed else {}),
            "why": f"held-out loss {losses[best]:.6f} at {best}, against {', '.join(others)}",
        },
    )


def input_checksums(cell: Mapping[str, Any], *, manifests: Sequence[Path]) -> dict[str, str]:
    """Learning rate → checksum of its weights, followed by the held-out loss by which the rate is chosen.

    For a failed training it is the fingerprint alone. Raises SelectionError like ``select_lr``, and CheckpointError
    if weights are missing.
    """
    losses = heldout_losses(cell["learning_rates"], manifests)
    pairs = zip(cell["learning_rates"], manifests, strict=True)
    return {rate: _checksum(path, losses.get(rate)) for rate, path in pairs}


def heldout_losses(rates: Sequence[str], paths: Sequence[Path]) -> dict[str, float]:
    """Learning rate → held-out loss in its manifest, in nats per target token. Failed trainings are left out.

    Raises SelectionError like ``select_lr``, and if there is not one manifest for each rate.
    """
    if len(rates) != len(paths):
        raise SelectionError(f"{len(rates)} learning rates but {len(paths)} manifests; give one for each.")
    found = {rate: _loss(path, rate) for rate, path in zip(rates, paths, strict=True)}
    return {rate: loss for rate, loss in found.items() if loss is not None}


def failed_rates(rates: Sequence[str], paths: Sequence[Path]) -> dict[str, str]:
    """Learning rate → reason of the failure, for each rate whose training failed."""
    found = {rate: failures.read(path) for rate, path in zip(rates, paths, strict=True)}
    return {rate: failure.reason for rate, failure in found.items() if failure is not None}


def _loss(path: Path, rate: str) -> float | None:
    manifest = manifests.read(path)
    if (trained := manifest["cell"]["lr"]) != rate:
        raise SelectionError(
            f"{path}: trained with learning rate {trained}, but {rate} is expected in this position."
        )
    if failures.of(manifest):
        return None
    loss = manifest.get("heldout_nll")
    if loss is None:
        raise SelectionError(
            f"{path}: no held-out loss to choose by; give the data a 'heldout' above 0 and rows enough for it,"
            " or the recipe one learning rate."
        )
    if not math.isfinite(loss):
        raise SelectionError(f"{path}: the held-out loss is {loss}; leave learning rate {rate} out.")
    return float(loss)


def _checksum(path: Path, loss: float | None) -> str:
    if loss is None:
        return failures.content(manifests.read(path))
    return f"{checkpoints.read(path).content} {loss}"
