"""Label-smoothed cross-entropy over a large vocabulary, without ever holding the logits of all tokens.

The target distribution of a token is (1 − β) on its label plus β/V on each of the V rows of the output
weight (Szegedy et al. 2016, section 7). With logits z = W h the smoothed loss is

    lse(z) − (1 − β) z_label − β mean(z)

and without a soft-cap mean(z) = h · mean row of W, so that smoothing needs no pass over the vocabulary.
A final soft-cap c, z = c tanh(W h / c) as in Gemma2, breaks that linearity: mean(z) is then summed tile by
tile together with the log-sum-exp. Gradients are taken in the forward pass, tile by tile, and only scaled
in the backward pass, which suits a loss that is a scalar.
"""

import math
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils import ModelOutput

# A tile of logits is at most this many float32 numbers (64 MB).
TILE = 16 * 2**20


@dataclass
class TokenStatistics(ModelOutput):
    """Sum of the smoothed loss (scalar), and for each of N target tokens, without gradient: unsmoothed
    negative log-likelihood and entropy in nats [N], and whether the label is a top token [N]."""

    loss_sum: Tensor | None = None
    nll: Tensor | None = None
    entropy: Tensor | None = None
    correct: Tensor | None = None


class _SmoothedSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        beta: float,
        softcap: float | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        n, v = len(hidden), len(weight)
        wants = hidden.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)
        grad_hidden = torch.zeros_like(hidden, dtype=torch.float32) if wants else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if wants else None
        grad_bias = (
            torch.zeros(v, dtype=torch.float32, device=weight.device) if wants and bias is not None else None
        )
        smooth, nll, entropy = (hidden.new_zeros(n, dtype=torch.float32) for _ in range(3))
        correct = torch.zeros(n, dtype=torch.bool, device=hidden.device)
        mean_row = weight.mean(0, dtype=torch.float32) if softcap is None else None
        mean_bias = bias.float().mean() if bias is not None else 0.0

        columns = min(v, max(1024, TILE // max(1, min(n, 1024))))
        rows = max(1, TILE // columns)
        for start in range(0, n, rows):
            part = slice(start, start + rows)
            h, y = hidden[part], labels[part]
            here = torch.arange(len(y), device=y.device)

            def logits(first: int, h: Tensor = h) -> Tensor:
                last = first + columns
                z = h.float() @ weight[first:last].float().T
                if bias is not None:
                    z += bias[first:last].float()
                return z if softcap is None else z.div_(softcap).tanh_().mul_(softcap)

            top = torch.full((len(y),), -math.inf, device=h.device)
            mass, moment, total, own = (torch.zeros_like(top) for _ in range(4))
            z = top
            for first in range(0, v, columns):
                z = logits(first)
                inside = (y >= first) & (y < first + z.shape[1])
                found = z[here, (y - first).clamp(0, z.shape[1] - 1)]
                own = torch.where(inside, found, own)
                if softcap is not None:
                    total += z.sum(1)
                higher = torch.maximum(top, z.amax(1))
                fade = torch.exp(top - higher)
                e = torch.exp(z - higher[:, None])
                mass = mass * fade + e.sum(1)
                moment = moment * fade + torch.linalg.vecdot(e, z)
                top = higher
            lse = top + mass.log()
            mean = total / v if mean_row is None else h.float() @ mean_row + mean_bias
            smooth[part] = lse - (1 - beta) * own - beta * mean
            nll[part] = lse - own
            entropy[part] = lse - moment / mass
            correct[part] = own >= top

            if grad_hidden is None or grad_weight is None:
                continue
            for first in range(0, v, columns):
                if columns < v:
                    z = logits(first)  # computed again: keeping it would hold all logits
                slope = None if softcap is None else 1 - (z / softcap) ** 2
                p = z.sub_(lse[:, None]).exp_()
                if softcap is not None:
                    p -= beta / v
                inside = ((y >= first) & (y < first + p.shape[1])).nonzero()[:, 0]
                p[inside, y[inside] - first] -= 1 - beta
                if slope is not None:
                    p *= slope
                last = first + p.shape[1]
                grad_hidden[part] += p @ weight[first:last].float()
                grad_weight[first:last].addmm_(p.T, h.float())
                if grad_bias is not None:
                    grad_bias[first:last] += p.sum(0)
            if mean_row is not None:
                grad_hidden[part] -= beta * mean_row
                grad_weight -= (beta / v) * h.float().sum(0)
                if grad_bias is not None:
                    grad_bias -= beta / v * len(y)
        if grad_hidden is not None and grad_weight is not None:
            saved = (grad_hidden.to(hidden.dtype), grad_weight.to(weight.dtype))
            ctx.save_for_backward(
                *saved, *(() if bias is None or grad_bias is None else (grad_bias.to(bias.dtype),))
            )
        ctx.mark_non_differentiable(nll, entropy, correct)
        return smooth.sum(), nll, entropy, correct

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        scaled = [saved * grads[0].to(saved.dtype) for saved in ctx.saved_tensors]
        return scaled[0], scaled[1], scaled[2] if len(scaled) == 3 else None, None, None, None


def token_statistics(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    beta: float,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
) -> TokenStatistics:
    """The smoothed loss summed over tokens, with what is logged, from one pass.

    ``hidden`` [N, D] and ``weight`` [V, D] in any floating type (tiles accumulate in float32), ``labels`` [N]
    of 0 … V−1, ``bias`` [V]. Raises ValueError for a wrong shape or type and a β outside [0, 1).
    """
    _check(hidden, weight, labels, beta, bias)
    return TokenStatistics(*_SmoothedSum.apply(hidden, weight, bias, labels, beta, softcap))


def smoothed_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    beta: float,
    *,
    softcap: float | None = None,
    ignore_index: int = -100,
    num_items: Tensor | float | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """Label-smoothed cross-entropy in nats, differentiable in ``hidden``, ``weight`` and ``bias``.

    Mean over target tokens where ``num_items`` is None, else sum / ``num_items`` (the target tokens of a
    global batch under gradient accumulation). Rows labelled ``ignore_index`` change neither loss nor
    gradient; where all are, the loss is 0. Raises ValueError as ``token_statistics`` does, and for a label
    outside the vocabulary.
    """
    _check(hidden, weight, labels, beta, bias)
    wanted = labels != ignore_index
    targets = labels[wanted]
    if len(targets) and not (int(targets.min()) >= 0 and int(targets.max()) < len(weight)):
        raise ValueError(f"labels must lie in 0 … {len(weight) - 1} or be {ignore_index}")
    found = token_statistics(hidden[wanted], weight, targets, beta, bias=bias, softcap=softcap)
    count = max(len(targets), 1) if num_items is None else num_items
    assert found.loss_sum is not None
    return found.loss_sum / count


def _check(hidden: Tensor, weight: Tensor, labels: Tensor, beta: float, bias: Tensor | None) -> None:
    if hidden.ndim != 2 or weight.ndim != 2 or hidden.shape[1] != weight.shape[1]:
        raise ValueError(
            f"hidden {tuple(hidden.shape)} and weight {tuple(weight.shape)} must be [N, D] and [V, D]"
        )
    if labels.shape != hidden.shape[:1] or labels.is_floating_point():
        raise ValueError(
            f"labels {tuple(labels.shape)} {labels.dtype} must be integers of shape [{len(hidden)}]"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias {tuple(bias.shape)} must be [{len(weight)}]")
    if not (hidden.is_floating_point() and weight.is_floating_point()):
        raise ValueError(f"hidden {hidden.dtype} and weight {weight.dtype} must be of a floating type")
    if not 0 <= beta < 1:
        raise ValueError(f"beta is {beta}, but must lie in [0, 1)")


class SmoothedHead(nn.Linear):
    """An output head that can also compute the loss.

    As a module of its own its weight is gathered by ZeRO-3's hooks, once for a forward pass.
    """

    def forward(
        self, hidden: Tensor, labels: Tensor | None = None, beta: float = 0.0, softcap: float | None = None
    ) -> Any:
        """Logits [..., V]; with ``labels`` [N] for ``hidden`` [N, D], the TokenStatistics."""
        if labels is None:
            return super().forward(hidden)
        return token_statistics(hidden, self.weight, labels, beta, bias=self.bias, softcap=softcap)


def install(model: Any, beta: float) -> None:
    """Let a causal language model of transformers compute the smoothed loss of labelled batches in its head.

    Afterwards ``model(input_ids, attention_mask, labels=…)`` returns TokenStatistics of the target tokens
    (labels are shifted here; −100 is no target) and builds no logits; without labels nothing changes.
    """
    model.get_output_embeddings().__class__ = SmoothedHead
    softcap = getattr(model.config, "final_logit_softcapping", None)
    plain = model.forward

    def forward(self: Any, *args: Any, labels: Tensor | None = None, **more: Any) -> Any:
        if labels is None:
            return plain(*args, **more)
        more.pop("num_items_in_batch", None)
        more["use_cache"] = False
        hidden = self.model(*args, **more).last_hidden_state[:, :-1]
        targets = labels[:, 1:]
        wanted = targets != -100
        return self.get_output_embeddings()(
            hidden[wanted], labels=targets[wanted], beta=beta, softcap=softcap
        )

    model.forward = MethodType(forward, model)
