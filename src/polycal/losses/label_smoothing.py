"""Label-smoothed cross-entropy over a large vocabulary, holding the logits of all tokens only where they are few.

The target distribution of a token is (1 − β) on its label plus β/V on each of the V rows of the output
weight (Szegedy et al. 2016, section 7). With logits z = W h the smoothed loss is

    lse(z) − (1 − β) z_label − β mean(z)

and without a soft-cap mean(z) = h · mean row of W, so that smoothing needs no pass over the vocabulary.
A final soft-cap c, z = c tanh(W h / c) as in Gemma2, breaks that linearity: mean(z) is then summed tile by
tile together with the log-sum-exp.

Gradients are taken in the forward pass, already divided by the number of target tokens: going over the
gradient of W once more in the backward pass is needed only where something else scales the loss. A block of
tokens keeps its logits until its gradients are taken, so that three products with W do; a block of all tokens
keeps three tiles in four and computes the others again, which costs less than going over W and its gradient
for a second block. Each tile is worked on while it is in the cache. Inside, logits are in units of log 2: the
power of two is several times faster than the exponential.
"""

import math
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.utils import ModelOutput

# The logits of a block of tokens are at most this many numbers (32 MB in float32), unless the vocabulary is so
# large that the block would be too low for the products to be worth their traffic with W and its gradient.
BLOCK = 2**23
LEAST_ROWS = 128
# Up to so many tokens keep all their logits, 32 MB at a vocabulary of 256,000.
FEW = 32
# A tile of the block is about this many numbers (2 MB), and not narrower than that.
TILE = 2**19
LEAST_COLUMNS = 1024

# One nat in units of log 2.
BITS = math.log2(math.e)

# What computes the loss, for the record of a training.
BACKEND = "tiled PyTorch"


@dataclass
class TokenStatistics(ModelOutput):
    """Smoothed loss (scalar), and for each of N target tokens, without gradient: unsmoothed negative
    log-likelihood and entropy in nats [N], and whether the label is a top token [N]."""

    loss: Tensor | None = None
    nll: Tensor | None = None
    entropy: Tensor | None = None
    correct: Tensor | None = None


def _sizes(n: int, v: int) -> tuple[int, int, int]:
    """For [n, v] logits: tokens in a block, columns in a tile, and columns kept beside the last tile.

    Blocks are cut evenly. A block of all tokens, if they are not few, keeps three tiles in four.
    """
    blocks = max(1, -(-n // max(LEAST_ROWS, BLOCK // v)))
    rows = max(1, -(-n // blocks))
    columns = min(v, max(LEAST_COLUMNS, TILE // rows))
    others = -(-v // columns) - 1
    return rows, columns, columns * (3 * others // 4 if blocks == 1 and n > FEW else others)


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
        count: Tensor | float,
        learns: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        n, v = len(hidden), len(weight)
        exact = torch.promote_types(torch.promote_types(hidden.dtype, weight.dtype), torch.float32)
        new: dict[str, Any] = {"dtype": exact, "device": hidden.device}
        learned = [learns and needed for needed in ctx.needs_input_grad[:3]]
        # the first block of tokens writes the gradient of the weight, the others add to it
        empty = torch.empty if n else torch.zeros
        grads = [
            fill(x.shape, **new) if x is not None and needed else None
            for fill, x, needed in zip(
                (torch.zeros, empty, torch.zeros), (hidden, weight, bias), learned, strict=True
            )
        ]
        grad_hidden, grad_weight, grad_bias = grads
        nll, entropy = (torch.zeros(n, **new) for _ in range(2))
        correct = torch.zeros(n, dtype=torch.bool, device=hidden.device)

        rows, columns, kept = _sizes(n, v)
        spans = [(first, min(first + columns, v)) for first in range(0, v, columns)]
        # Below the tokens of a tile stands a row of ones. By it the products for the gradients also yield the sum of the
        # rows of W and add what each of them gets alike, which would go over the largest things in memory once more.
        block = torch.empty((rows + 1) * min(kept + columns, v), **new)
        scratch = torch.empty(2, rows * columns, **new)
        linear = softcap is None
        uniform = linear and beta > 0
        hidden_sum, row_sum = hidden.sum(0, dtype=exact), torch.zeros(weight.shape[1], **new)
        alike = -beta / v * hidden_sum[None] / count
        # over tokens: logits of the labels, and mean logits
        own_sum, mean_sum = torch.zeros((), **new), torch.zeros((), **new)

        # what the product has to be: logits in units of log 2, or the argument of tanh
        unit = BITS if softcap is None else 1 / softcap

        def logits(scaled: Tensor, first: int, last: int, tile: Tensor) -> Tensor:
            z = torch.mm(scaled, weight[first:last].to(exact).T, out=tile[:-1])
            if bias is not None:
                z += bias[first:last].to(exact) * unit
            return z if softcap is None else z.tanh_().mul_(BITS * softcap)

        for start in range(0, n, rows):
            part = slice(start, start + rows)
            h, y = hidden[part].to(exact), labels[part]
            scaled = h * unit
            here = torch.arange(len(y), device=y.device)
            top = torch.full((len(y),), torch.finfo(exact).min, **new)
            mass, moment, own = (torch.zeros_like(top) for _ in range(3))
            tops = []
            tall = len(y) + 1
            # tiles that are not kept share the place behind those that are
            places = [(at := min(first, kept), at + last - first) for first, last in spans]
            tiles = [block[tall * first : tall * last].view(tall, -1) for first, last in places]

            for (first, last), tile in zip(spans, tiles, strict=True):
                z = logits(scaled, first, last, tile)
                if softcap is not None:
                    mean_sum += z.sum() / v
                elif uniform and start == 0 and grad_hidden is None:
                    row_sum += weight[first:last].sum(0, dtype=exact)
                inside = (y >= first) & (y < last)
                own = torch.where(inside, z[here, (y - first).clamp(0, last - first - 1)], own)
                # Σ 2^(z − top) and Σ 2^(z − top) (z − top), moved along when a tile has a higher top
                higher = torch.maximum(top, z.amax(1))
                fade, fall = torch.exp2(top - higher), (top - higher) * mass
                below = torch.sub(z, higher[:, None], out=scratch[0, : z.numel()].view_as(z))
                # a soft-cap's slope needs the logits once more; without one the powers take their place
                e = torch.exp2(below, out=z if linear else scratch[1, : z.numel()].view_as(z))
                moment = (moment + fall) * fade + below.mul_(e).sum(1)
                mass = mass * fade + e.sum(1)
                top = higher
                tops.append(top)

            nll[part] = mass.log() - (own - top) / BITS
            own_sum += own.sum()
            entropy[part] = mass.log() - moment / mass / BITS
            correct[part] = own >= top
            if not any(learned):
                continue

            # The slope of the loss at z is (2^(z − top) − even) / mass less (1 − β) at the label. Dividing h and the
            # sum by mass, and moving powers from the top of their tile to the last, costs a number a token instead
            # of a pass over the block, and loses nothing where logits are huge. The gradient of W is linear in h,
            # where the division by the count costs nothing.
            h = h / count
            share = h / mass[:, None]
            for (first, last), tile, then in reversed(list(zip(spans, tiles, tops, strict=True))):
                w = weight[first:last].to(exact)
                e = tile[:-1]
                # back from the last tile, which still stands behind those that were kept
                again = kept <= first and last < v
                if again:
                    logits(scaled, first, last, tile)
                    if linear:
                        e.sub_(top[:, None]).exp2_()
                fade = torch.exp2((then if linear and not again else top) - top)[:, None]
                if softcap is not None:
                    squared = torch.div(e, BITS * softcap, out=scratch[0, : e.numel()].view_as(e)).square_()
                    e.sub_(top[:, None]).exp2_().sub_((beta / v) * mass[:, None])
                    e.addcmul_(e, squared, value=-1)  # times the slope of the cap, 1 − tanh²
                with_ones = e
                if uniform and start == 0:
                    with_ones = tile
                    tile[-1] = 1
                if grad_hidden is not None:
                    pulls = with_ones @ w
                    grad_hidden[part].addcmul_(fade, pulls[: len(y)])
                    row_sum += pulls[len(y) :].sum(0)
                if grad_weight is not None:
                    into, shares = grad_weight[first:last], share * fade
                    if start > 0:
                        into.addmm_(e.T, shares)
                    else:
                        torch.mm(with_ones.T, torch.cat((shares, alike))[: len(with_ones)], out=into)
                if grad_bias is not None:
                    grad_bias[first:last].addmv_(e.T, fade[:, 0] / mass)
            at_label = (beta - 1) * (
                1 - (own / (BITS * softcap)) ** 2 if softcap is not None else torch.ones_like(own)
            )
            if grad_hidden is not None:
                grad_hidden[part].div_(mass[:, None]).addcmul_(at_label[:, None], weight[y].to(exact))
            if grad_weight is not None:
                grad_weight.index_put_((y,), at_label[:, None] * h, accumulate=True)
            if grad_bias is not None:
                grad_bias.index_put_((y,), at_label, accumulate=True)

        if uniform:
            bias_sum = 0 if bias is None else bias.sum(dtype=exact)
            mean_sum = BITS / v * (hidden_sum @ row_sum + n * bias_sum)
            if grad_hidden is not None:
                grad_hidden -= beta / v * row_sum
            if grad_bias is not None:
                grad_bias -= beta / v * n
        for grad in (grad_hidden, grad_bias):
            if grad is not None:
                grad /= count
        loss = (nll.sum() + beta * (own_sum - mean_sum) / BITS) / count
        ctx.grads = grads
        ctx.dtypes = [None if x is None else x.dtype for x in (hidden, weight, bias)]
        ctx.mark_non_differentiable(nll, entropy, correct)
        return loss, nll, entropy, correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.grads is None:
            raise RuntimeError("the smoothed loss can go backward once: compute it again for a second time")
        grads, ctx.grads = ctx.grads, None
        if float(outer[0]) != 1:
            # in place: a second gradient of W would be the largest thing in memory
            for grad in grads:
                if grad is not None:
                    grad *= outer[0]
        return (
            *(
                None if grad is None else grad.to(dtype)
                for grad, dtype in zip(grads, ctx.dtypes, strict=True)
            ),
            *(None,) * 5,
        )


def token_statistics(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    beta: float,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    num_items: Tensor | float = 1,
) -> TokenStatistics:
    """The smoothed loss, summed over tokens and divided by ``num_items``, with what is logged, from one pass.

    ``hidden`` [N, D] and ``weight`` [V, D] in any floating type (the work is done in float32 at least, also
    under autocast), ``labels`` [N] of 0 … V−1, ``bias`` [V]. Under ``torch.no_grad`` no gradient is computed;
    otherwise the loss goes backward once. Raises ValueError for a wrong shape or type, a β outside [0, 1) and
    a soft-cap that is not above 0.
    """
    _check(hidden, weight, labels, beta, bias, softcap)
    with torch.autocast(hidden.device.type, enabled=False):
        found = _SmoothedSum.apply(
            hidden, weight, bias, labels, beta, softcap, num_items, torch.is_grad_enabled()
        )
    return TokenStatistics(*found)


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
    _check(hidden, weight, labels, beta, bias, softcap)
    wanted = labels != ignore_index
    targets = labels[wanted]
    if len(targets) and not (int(targets.min()) >= 0 and int(targets.max()) < len(weight)):
        raise ValueError(f"labels must lie in 0 … {len(weight) - 1} or be {ignore_index}")
    count = max(len(targets), 1) if num_items is None else num_items
    found = token_statistics(
        hidden[wanted], weight, targets, beta, bias=bias, softcap=softcap, num_items=count
    )
    assert found.loss is not None
    return found.loss


def _check(
    hidden: Tensor, weight: Tensor, labels: Tensor, beta: float, bias: Tensor | None, softcap: float | None
) -> None:
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
    if softcap is not None and not softcap > 0:
        raise ValueError(f"softcap is {softcap}, but must be above 0 or None")


class SmoothedHead(nn.Linear):
    """An output head that can also compute the loss.

    As a module of its own its weight is gathered by ZeRO-3's hooks, once for a forward pass.
    """

    def forward(
        self,
        hidden: Tensor,
        labels: Tensor | None = None,
        beta: float = 0.0,
        softcap: float | None = None,
        num_items: Tensor | float = 1,
    ) -> Any:
        """Logits [..., V]; with ``labels`` [N] for ``hidden`` [N, D], the TokenStatistics."""
        if labels is None:
            return super().forward(hidden)
        return token_statistics(
            hidden, self.weight, labels, beta, bias=self.bias, softcap=softcap, num_items=num_items
        )


# What models of other families multiply or divide their logits by; the loss here knows none of it.
SCALES = ("logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")


def install(model: Any, beta: float) -> None:
    """Let a causal language model of transformers compute the smoothed loss of labelled batches in its head.

    Afterwards ``model(input_ids, attention_mask, labels=…)`` returns TokenStatistics of the target tokens
    (labels are shifted here; −100 is no target) and builds no logits; without labels nothing changes. The
    loss is summed over them and divided by ``num_items_in_batch``, where that is given.
    Raises ValueError for a model that scales its logits or whose head is no linear layer.
    """
    config = model.config.get_text_config()
    scaled = [name for name in SCALES if getattr(config, name, None) not in (None, 1, 1.0)]
    head = model.get_output_embeddings()
    if scaled or not isinstance(head, nn.Linear):
        found = f"sets {scaled[0]}" if scaled else f"has a head of type {type(head).__name__}"
        raise ValueError(f"{config.model_type} {found}, but the loss needs logits W h, soft-capped or not")
    head.__class__ = SmoothedHead
    softcap = getattr(config, "final_logit_softcapping", None)
    plain = model.forward

    def forward(
        self: Any,
        *args: Any,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | float = 1,
        **more: Any,
    ) -> Any:
        if labels is None:
            return plain(*args, **more)
        more["use_cache"] = False
        hidden = self.base_model(*args, **more).last_hidden_state[:, :-1]
        targets = labels[:, 1:]
        wanted = targets != -100
        return self.get_output_embeddings()(
            hidden[wanted],
            labels=targets[wanted],
            beta=beta,
            softcap=softcap,
            num_items=num_items_in_batch,
        )

    model.forward = MethodType(forward, model)
