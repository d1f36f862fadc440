"""The check of every run against the model itself: which way through the model gives the model's own numbers.

A few probes of the run go through the fast path and through the model's own forward pass, one row at a time,
which is the reference. If their log-probabilities differ by more than rounding, the run takes the model's own
forward on padded rows, and if padding changes the numbers too, one row at a time. There is no list of models.

On a CPU in float32 the difference of a token's log-probability x may be ``1e-4 + 1e-5 |x|``: between two
batchings of the same model it is about 1e-5, and a scale or cap that is left out changes it by more than 1e-2.
In other types and on other devices it may be twice the difference that the model shows between two batchings of
the probe, but not less than two rounding errors of ``1 + |x|``.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from polycal.data.model_loading import describe, describe_error
from polycal.errors import CellError
from polycal.scoring import plain_forward
from polycal.scoring.plain_forward import FAST, SINGLE, Row

ABSOLUTE, RELATIVE = 1e-4, 1e-5
ROUNDINGS = 2
"""Rounding errors of a coarse type, relative to 1 + |x|, that are allowed without a look at the model."""


class SelfCheckError(CellError):
    """A model whose own forward pass gives no usable numbers; the message says why."""


@dataclass(frozen=True)
class SelfCheck:
    """The outcome of a check.

    ``path``: the way that the run takes (``fast``, ``plain`` or ``single``). ``max_difference`` and
    ``tolerance``: of the value that is nearest to its tolerance, or beyond it by most, on that path.
    ``prompts``: number of probes; ``values``: number of values compared. ``because``: what was wrong with the
    paths before it, by path.
    """

    path: str
    max_difference: float
    tolerance: float
    prompts: int
    values: int
    seconds: float
    because: Mapping[str, str]

    def facts(self) -> dict[str, Any]:
        """The entry ``self_check`` of a record's metadata."""
        return asdict(self)


NOTHING = SelfCheck(FAST, 0.0, 0.0, 0, 0, 0.0, {})
"""The outcome for a run without prompts."""


@dataclass(frozen=True)
class Reference:
    """Values of the model's own forward on single rows, float64 [N], and the difference allowed to each."""

    values: np.ndarray
    allowed: np.ndarray

    def compare(self, values: np.ndarray) -> tuple[float, float]:
        """Difference and tolerance at the value whose difference is largest relative to its tolerance."""
        difference = np.abs(np.where(values == self.values, 0.0, values - self.values))
        difference = np.where(np.isnan(difference), np.inf, difference)
        worst = int(np.argmax(difference / self.allowed))
        return float(difference[worst]), float(self.allowed[worst])


def choose_path(
    model: Any,
    alone: Callable[[], np.ndarray],
    again: Callable[[], np.ndarray],
    paths: Mapping[str, Callable[[], Sequence[np.ndarray]]],
    causal_row: Row,
    prompts: int,
) -> SelfCheck:
    """The first of ``paths`` of which all values agree with the reference, else ``single``.

    ``alone`` gives the reference, ``again`` the same values of the model's own forward under another batching, which
    is needed for coarse types only. Each of ``paths`` gives the values once for every batching that is tried.
    ``causal_row`` is a row of
    tokens on which the model is asked whether it reads ahead. Raises SelfCheckError if it does, or if the
    reference fails or is not a number.
    """
    start, because = time.perf_counter(), dict[str, str]()
    try:
        expected = _reference(model, alone, again)
        ahead = _reads_ahead(model, causal_row)
    except Exception as error:
        raise SelfCheckError(
            f"{describe(model)}: the model's own forward pass fails ({describe_error(error)});"
            " a causal language model of transformers is needed."
        ) from error
    if np.isnan(expected.values).any():
        raise SelfCheckError(
            f"{describe(model)}: the model's own log-probabilities are not a number for {prompts} prompts that"
            " were tried; its weights or its data type must be wrong."
        )
    if ahead:
        raise SelfCheckError(
            f"{describe(model)}: what the model predicts after a token depends on the tokens behind it; a causal"
            " language model is needed (config.json: is_decoder must be true where the model has it)."
        )
    for path, run in paths.items():
        try:
            found = [expected.compare(values) for values in run()]
        except Exception as error:
            because[path] = describe_error(error)
            continue
        difference, tolerance = max(found, key=lambda pair: pair[0] / pair[1])
        if difference <= tolerance:
            break
        because[path] = f"differs by {difference:.3g}, tolerance {tolerance:.3g}"
    else:
        path, difference, tolerance = SINGLE, 0.0, float(expected.allowed.min())
    seconds = round(time.perf_counter() - start, 3)
    return SelfCheck(path, difference, tolerance, prompts, len(expected.values), seconds, because)


def _reference(model: Any, alone: Callable[[], np.ndarray], again: Callable[[], np.ndarray]) -> Reference:
    values = alone()
    return Reference(values, allowed_differences(model, values, None if is_exact_type(model) else again()))


def is_exact_type(model: Any) -> bool:
    """Whether the fixed tolerance holds: on a CPU, in float32 or float64."""
    return model.device.type == "cpu" and model.dtype in (torch.float32, torch.float64)


def allowed_differences(model: Any, values: np.ndarray, again: np.ndarray | None) -> np.ndarray:
    """Tolerance of each of the ``values``, given the same values under another batching (None: not needed)."""
    if again is None:
        return ABSOLUTE + RELATIVE * np.abs(values)
    floor = ROUNDINGS * torch.finfo(model.dtype).eps * (1 + np.abs(values))
    return np.maximum(np.maximum(floor, ABSOLUTE), 2 * np.nanmax(np.abs(again - values)))


def pick(lengths: Sequence[int], groups: Sequence[str]) -> list[int]:
    """Numbers of the probes: the shortest, the longest, and one of the longest one's group, if there is one.

    Items of a group begin with the same text.
    """
    order = sorted(range(len(lengths)), key=lambda number: (lengths[number], number))
    shortest, longest = order[0], order[-1]
    fellows = [n for n in order if groups[n] == groups[longest] and n not in (shortest, longest)]
    return list(dict.fromkeys([shortest, longest, *fellows[:1]]))


def _reads_ahead(model: Any, row: Row) -> bool:
    """Whether the logits in the middle of ``row`` change when the rest of it is cut off."""
    middle = len(row) // 2
    with torch.inference_mode():
        whole, cut = (
            plain_forward.own_logits(model, [tokens])[0, middle].double().log_softmax(-1).cpu().numpy()
            for tokens in (row, row[: middle + 1])
        )
    roundings = RELATIVE if is_exact_type(model) else ROUNDINGS * torch.finfo(model.dtype).eps
    return bool((np.abs(whole - cut) > 10 * (ABSOLUTE + roundings * (1 + np.abs(cut)))).any())
