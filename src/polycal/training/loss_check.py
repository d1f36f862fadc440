"""The check before training: compares polycal's loss at β = 0 with cross-entropy over the model's own logits.

The logits come from the model's own forward pass. If the model applies a scale, a cap or a bias that the output
head of ``polycal.losses`` does not apply, the loss and the gradient differ. No list of models is needed.

The check is done in float32, whatever the precision of the training, on a part of the first micro-batch. A cap
changes only large logits, and training makes logits large. If the logits are small, the check is therefore repeated
with the input of the head multiplied so that they are large. The model, its gradients and all random states are
restored exactly.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polycal.data.model_loading import describe, describe_error, embedding_rows
from polycal.errors import CellError
from polycal.losses import smoothed_head
from polycal.training import undisturbed
from polycal.vocabulary import IGNORE_INDEX

TOLERANCE = 1e-4
"""Largest relative difference that is allowed, of the loss and of the gradient.

The difference of the loss is relative to the loss plus a tenth of (1 + the largest logit). The difference of the
gradient is relative to its norm or to the norm of the gradient of log-sum-exp, whichever is larger.
"""
LARGE_LOGIT = 30.0
"""Logits of at least this size are changed by a cap."""
MAX_TOKENS, MAX_LOGITS = 256, 2**24
"""Largest number of tokens that are compared, and of their logits, which are stored in float64."""
MIN_ROW = 8
"""Smallest number of tokens that are compared per row, if the rows are that long."""


class LossCheckError(CellError):
    """A model cannot be trained with the smoothed loss. The message says why."""


@dataclass(frozen=True)
class LossCheck:
    """The result of the check.

    It contains the relative differences (see TOLERANCE), the name of the weight whose gradient was compared, and
    the number of target tokens.
    """

    loss_difference: float
    gradient_difference: float
    weight: str
    tokens: int

    def facts(self) -> dict[str, Any]:
        """The entry ``self_check`` of a manifest."""
        return {**asdict(self), "tolerance": TOLERANCE}


def check(model: Any, micro_batch: Mapping[str, np.ndarray]) -> LossCheck:
    """Compare the model's own loss with polycal's on a part of ``micro_batch``.

    ``model`` is in float32 and does not have the smoothed head yet. ``micro_batch`` is a result of ``batches.pad``.
    Raises LossCheckError if the losses or gradients differ by more than TOLERANCE, if the model's own loss is not
    finite or has no gradient, and if one of the forward passes fails.
    """
    batch = shorten(micro_batch, embedding_rows(model))
    device = _roomy_gpu(model)
    if device is not None:
        try:
            return _check_on(model, batch, device)
        except (RuntimeError, LossCheckError):
            # The GPU may lack memory or an operator. The CPU then decides.
            pass
    return _check_on(model, batch, torch.device("cpu"))


def shorten(micro_batch: Mapping[str, np.ndarray], vocabulary: int) -> dict[str, Tensor]:
    """The part of a micro-batch that is compared: a window of each of the first rows, with the row's first target.

    If no token of the part can be a target, for example in rows of one token, all of its tokens become targets.
    ``vocabulary`` is the number of logits per token.
    """
    rows, width = micro_batch["labels"].shape
    tokens = int(np.clip(MAX_LOGITS // vocabulary, MIN_ROW, MAX_TOKENS))
    kept = min(rows, max(tokens // MIN_ROW, 1))
    length = min(width, tokens // kept)
    is_target = micro_batch["labels"][:kept] != IGNORE_INDEX
    # the target is in the middle of the window, or as near to it as the row allows
    starts = np.clip(is_target.argmax(axis=1) - length // 2, 0, width - length)
    columns = starts[:, None] + np.arange(length)
    part = {name: np.take_along_axis(array[:kept], columns, 1) for name, array in micro_batch.items()}
    if length == 1:
        part = {name: array.repeat(MIN_ROW, axis=1) for name, array in part.items()}
    if (part["labels"][:, 1:] == IGNORE_INDEX).all():
        part["labels"] = np.where(part["attention_mask"] > 0, part["input_ids"], IGNORE_INDEX)
    return {name: torch.from_numpy(array) for name, array in part.items()}


def _roomy_gpu(model: Any) -> torch.device | None:
    """The GPU of this rank if the model needs at most half of its free memory, else None."""
    if not torch.cuda.is_available():
        return None
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    needed = sum(p.numel() * p.element_size() for p in model.parameters())
    return device if 2 * needed <= torch.cuda.mem_get_info(device)[0] else None


def _check_on(model: Any, batch: Mapping[str, Tensor], device: torch.device) -> LossCheck:
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    with undisturbed.borrowed(model, device):
        try:
            own, largest = _own(model, batch, 1.0)
        except LossCheckError:
            raise
        except Exception as error:
            raise LossCheckError(
                f"{describe(model)}: the model's own forward pass fails on tokens and an attention mask alone"
                f" ({describe_error(error)}); it cannot be trained on text."
            ) from error
        result = _compare(model, batch, own, _smoothed(model, batch, own.weight, 1.0), largest)
        if own.head_is_called and 0 < largest < LARGE_LOGIT:
            factor = LARGE_LOGIT / largest
            own, largest = _own(model, batch, factor)
            enlarged = _compare(model, batch, own, _smoothed(model, batch, own.weight, factor), largest)
            result = max(result, enlarged, key=lambda r: max(r.loss_difference, r.gradient_difference))
    return result


@dataclass(frozen=True)
class _Own:
    """The model's own loss per target token in nats, and two gradients with respect to ``weight``.

    The gradients are those of the loss and of the mean log-sum-exp of the logits. ``head_is_called`` is False if
    the model does not compute its logits by calling its output head.
    """

    loss: float
    gradient: Tensor
    log_sum_exp_gradient: Tensor
    weight: str
    head_is_called: bool


def _own(model: Any, batch: Mapping[str, Tensor], factor: float) -> tuple[_Own, float]:
    """The model's own loss, with the input of its head multiplied by ``factor``, and its largest absolute logit."""
    undisturbed.seed(batch["labels"].device)
    with _enlarged(model.get_output_embeddings(), factor) as calls:
        output = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False)
    targets = batch["labels"][:, 1:]
    is_target = targets != IGNORE_INDEX
    logits = output.logits[:, :-1][is_target].double()
    loss = torch.nn.functional.cross_entropy(logits, targets[is_target])
    if not bool(loss.isfinite()):
        raise LossCheckError(
            f"{describe(model)}: its own loss on the first conversations is {float(loss.detach())} before any training; its"
            " weights must be wrong."
        )
    name, gradient = _last_gradient(model, loss)
    weight = model.get_parameter(name)
    (log_sum_exp,) = torch.autograd.grad(logits.logsumexp(-1).mean(), weight)
    own = _Own(float(loss.detach()), gradient, log_sum_exp, name, bool(calls))
    return own, float(logits.detach().abs().max())


def _last_gradient(model: Any, loss: Tensor) -> tuple[str, Tensor]:
    """Name and gradient of a small weight near the head.

    It is the last vector outside the head on which the loss depends, or the last matrix if there is no vector.
    Raises LossCheckError if no weight outside the head has a gradient other than zero.
    """
    head = model.get_output_embeddings()
    in_head = {id(p) for p in (head.parameters() if head is not None else ())}
    names = [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in in_head]
    names.reverse()
    # vectors from the last to the first, then matrices in the same order, because sorting is stable
    for name in sorted(names, key=lambda n: model.get_parameter(n).ndim > 1):
        (gradient,) = torch.autograd.grad(
            loss, model.get_parameter(name), retain_graph=True, allow_unused=True
        )
        if gradient is not None and bool(gradient.any()):
            return name, gradient
    raise LossCheckError(
        f"{describe(model)}: no weight behind the embeddings has a gradient; it cannot be trained."
    )


def _smoothed(model: Any, batch: Mapping[str, Tensor], weight: str, factor: float) -> tuple[float, Tensor]:
    """polycal's loss per target token at β = 0, and its gradient. The head is installed as in training."""
    targets = int((batch["labels"][:, 1:] != IGNORE_INDEX).sum())
    undisturbed.seed(batch["labels"].device)
    try:
        with undisturbed.installed(model):
            smoothed_head.install(model, 0.0)
            with _enlarged(model.get_output_embeddings(), factor):
                loss = model(**batch, num_items_in_batch=targets).loss
            (gradient,) = torch.autograd.grad(loss, model.get_parameter(weight))
    except Exception as error:
        raise LossCheckError(
            f"{describe(model)}: the smoothed loss cannot be computed ({describe_error(error)});"
            " this model cannot be trained here."
        ) from error
    return float(loss.detach()), gradient


def _compare(
    model: Any, batch: Mapping[str, Tensor], own: _Own, smoothed: tuple[float, Tensor], largest: float
) -> LossCheck:
    loss, gradient = smoothed
    scale = max(float(own.gradient.norm()), float(own.log_sum_exp_gradient.norm()))
    result = LossCheck(
        loss_difference=abs(loss - own.loss) / (abs(own.loss) + 0.1 * (1 + largest)),
        gradient_difference=float((gradient - own.gradient).norm()) / scale if scale else 0.0,
        weight=own.weight,
        tokens=int((batch["labels"][:, 1:] != IGNORE_INDEX).sum()),
    )
    # written so that a NaN is refused too
    if not (result.loss_difference <= TOLERANCE and result.gradient_difference <= TOLERANCE):
        raise LossCheckError(
            f"{describe(model)}: the smoothed loss is not that of the model's own logits: {loss:.6g} against"
            f" {own.loss:.6g} nats per token at beta 0, and the gradient of {own.weight} differs by"
            f" {result.gradient_difference:.2g} of its norm, where {TOLERANCE:g} is allowed; the model changes its"
            " logits after the output head in a way that training does not reproduce."
        )
    return result


@contextmanager
def _enlarged(head: Any, factor: float) -> Iterator[list[float]]:
    """Multiply the input of the head by ``factor``. The yielded list gets an entry for each call of the head."""
    calls: list[float] = []

    def enlarge(_: Any, inputs: Sequence[Any]) -> tuple[Any, ...]:
        calls.append(factor)
        return (inputs[0] * factor, *inputs[1:]) if inputs else ()

    hook = head.register_forward_pre_hook(enlarge) if head is not None else None
    try:
        yield calls
    finally:
        if hook is not None:
            hook.remove()
