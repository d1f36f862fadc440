"""The self-check of every scoring run: which path through the model gives the numbers of the model itself.

A few inputs of the run, the probes, are processed by the fast path. The reference is the model's own forward
pass on one row at a time. If the log-probabilities differ by more than rounding, the run uses the model's own
forward on padded rows. If these differ too, the run uses it on one row at a time. So no list of supported
models is needed.

The tolerance for a log-probability x, on a CPU in float32 or float64, is ``1e-4 + 1e-5 |x|``. Two batches of
the same model differ by about 1e-6, and an omitted scale or cap changes a log-probability by more than 1e-2.
In other types and on other devices the tolerance is twice the largest difference between two batches of the
probes. It is at least two rounding errors of ``1 + |x|``, and at least 1e-4.
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
"""Number of rounding errors of a coarse type, relative to 1 + |x|, that are always allowed."""


class SelfCheckError(CellError):
    """A model's own forward pass gives no usable numbers."""


@dataclass(frozen=True)
class SelfCheck:
    """The result of a check.

    - ``path``: the path that the run uses (``fast``, ``plain`` or ``single``).
    - ``max_difference`` and ``tolerance``: those of the value with the largest difference relative to its
      tolerance, on this path. On ``single``, which is the reference, they are 0 and the smallest tolerance.
    - ``prompts``: the number of probes.
    - ``values``: the number of compared values.
    - ``because``: for each path that was rejected, the reason.
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
"""The result for a run without prompts."""


@dataclass(frozen=True)
class Reference:
    """The values of the model's own forward on single rows, float64 [N], and the tolerance of each, float64 [N]."""

    values: np.ndarray
    allowed: np.ndarray

    def compare(self, values: np.ndarray) -> tuple[float, float]:
        """The difference and the tolerance of the value with the largest difference relative to its tolerance."""
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
    """Choose the first of ``paths`` whose values all agree with the reference, else ``single``.

    ``alone`` computes the reference. ``again`` computes the same values by the model's own forward in other
    batches; it is called for coarse types only. Each of ``paths`` computes the values once for each kind of
    batches. ``causal_row`` is a row of tokens for the test that no prediction depends on later tokens. Raises
    SelfCheckError if one does, and if the reference fails or is NaN.
    """
    start, because = time.perf_counter(), dict[str, str]()
    try:
        expected = _reference(model, alone, again)
        is_causal = _is_causal(model, causal_row)
    except Exception as error:
        raise SelfCheckError(
            f"{describe(model)}: the model's own forward pass fails ({describe_error(error)});"
            " a causal language model of transformers is needed."
        ) from error
    if np.isnan(expected.values).any():
        raise SelfCheckError(
            f"{describe(model)}: the model's own log-probabilities are not a number for {prompts} prompts that"
            " were tried; other weights or another data type are needed."
        )
    if not is_causal:
        raise SelfCheckError(
            f"{describe(model)}: the model's prediction after a token depends on later tokens; a causal language"
            " model is needed (is_decoder in config.json must be true if the model has this key)."
        )
    for path, run in paths.items():
        try:
            comparisons = [expected.compare(values) for values in run()]
        except Exception as error:
            because[path] = describe_error(error)
            continue
        difference, tolerance = max(comparisons, key=lambda pair: pair[0] / pair[1])
        if difference <= tolerance:
            break
        because[path] = f"differs by {difference:.3g}, tolerance {tolerance:.3g}"
    else:
        path, difference, tolerance = SINGLE, 0.0, float(expected.allowed.min())
    seconds = round(time.perf_counter() - start, 3)
    return SelfCheck(path, difference, tolerance, prompts, len(expected.values), seconds, because)


def _reference(model: Any, alone: Callable[[], np.ndarray], again: Callable[[], np.ndarray]) -> Reference:
    """The reference, with the tolerances of its values."""
    values = alone()
    return Reference(values, allowed_differences(model, values, None if is_exact_type(model) else again()))


def is_exact_type(model: Any) -> bool:
    """Whether the fixed tolerance applies: on a CPU, in float32 or float64."""
    return model.device.type == "cpu" and model.dtype in (torch.float32, torch.float64)


def allowed_differences(model: Any, values: np.ndarray, again: np.ndarray | None) -> np.ndarray:
    """The tolerance of each of ``values`` [N]. ``again`` [N] contains the same values from other batches.

    If ``again`` is None, the fixed tolerance applies.
    """
    if again is None:
        return ABSOLUTE + RELATIVE * np.abs(values)
    floor = ROUNDINGS * torch.finfo(model.dtype).eps * (1 + np.abs(values))
    return np.maximum(np.maximum(floor, ABSOLUTE), 2 * np.nanmax(np.abs(again - values)))


def pick(lengths: Sequence[int], groups: Sequence[str]) -> list[int]:
    """Choose the probes: the indices of the shortest text, the longest, and another one of the longest one's group.

    Texts of a group begin with the same few-shot examples. The third probe is omitted if there is none.
    """
    order = sorted(range(len(lengths)), key=lambda number: (lengths[number], number))
    shortest, longest = order[0], order[-1]
    others = [n for n in order if groups[n] == groups[longest] and n not in (shortest, longest)]
    return list(dict.fromkeys([shortest, longest, *others[:1]]))


def _is_causal(model: Any, row: Row) -> bool:
    """Whether the log-probabilities in the middle of ``row`` stay the same if the tokens after it are removed."""
    middle = len(row) // 2
    with torch.inference_mode():
        with_rest, without_rest = (
            plain_forward.own_logits(model, [tokens])[0, middle].double().log_softmax(-1).cpu().numpy()
            for tokens in (row, row[: middle + 1])
        )
    rounding = RELATIVE if is_exact_type(model) else ROUNDINGS * torch.finfo(model.dtype).eps
    tolerance = 10 * (ABSOLUTE + rounding * (1 + np.abs(without_rest)))
    return not bool((np.abs(with_rest - without_rest) > tolerance).any())
