"""Label-smoothed cross-entropy of a linear output head over a large vocabulary.

N is the number of tokens, D the size of a hidden state, and V the number of rows of the output weight W. The
target distribution of a token is (1 − β) on its label plus β/V on each of the V rows (Szegedy et al. 2016,
arXiv 1512.00567, section 7). The logits are z = W h + b. With a final soft-cap c, as in Gemma 2, they are
z = c·tanh((W h + b) / c).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from polycal.losses import backends
from polycal.losses.tiled_loss import TiledSmoothedLoss


class TokenStatistics(NamedTuple):
    """The smoothed loss, and statistics of N target tokens.

    ``loss`` is a scalar in nats and differentiable. The statistics have no gradient: ``nll`` [N] is the
    unsmoothed negative log-likelihood of the label in nats, ``entropy`` [N] is the entropy of the predicted
    distribution in nats, and ``correct`` [N] (bool) is true if no token is more probable than the label.
    """

    loss: Tensor
    nll: Tensor
    entropy: Tensor
    correct: Tensor


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
    """Label-smoothed cross-entropy in nats, a scalar.

    It has gradients in ``hidden``, ``weight`` and ``bias``. ``hidden`` [N, D], ``weight`` [V, D] and ``bias``
    [V] have any floating type. ``labels`` [N] are integers in 0 … V−1, or ``ignore_index`` for a token that
    is not a target. Such a token changes neither the loss nor a gradient. The loss is the mean over the
    target tokens, and 0 if there are none. With ``num_items`` it is their sum divided by ``num_items``: for
    gradient accumulation, give the number of target tokens in the global batch. ``backward`` can be called
    once.

    With a uniform prior the loss of a token is lse(z) − (1 − β) z_label − β mean(z). Source: Szegedy et al.
    2016, arXiv 1512.00567, section 7. Raises ValueError for a wrong shape or type, β outside [0, 1), a
    soft-cap of 0 or less, and a label outside the vocabulary.

    Examples:
        >>> import torch
        >>> from polycal.losses import smoothed_cross_entropy
        >>> hidden, weight = torch.eye(2, 3), torch.eye(4, 3, requires_grad=True)
        >>> loss = smoothed_cross_entropy(hidden, weight, torch.tensor([0, -100]), beta=0.1)
        >>> loss.backward()
        >>> round(loss.item(), 4), weight.grad.shape
        (0.8187, torch.Size([4, 3]))
        >>> smoothed_cross_entropy(hidden, weight, torch.tensor([0, 4]), beta=0.1)
        Traceback (most recent call last):
        ValueError: labels must lie in 0 … 3 or be -100
    """
    _check(hidden, weight, labels, beta, bias, softcap)
    is_target = labels != ignore_index
    targets = labels[is_target]
    if len(targets) and not (int(targets.min()) >= 0 and int(targets.max()) < len(weight)):
        raise ValueError(f"labels must lie in 0 … {len(weight) - 1} or be {ignore_index}")
    divisor = max(len(targets), 1) if num_items is None else num_items
    return token_statistics(
        hidden[is_target], weight, targets, beta, bias=bias, softcap=softcap, num_items=divisor
    ).loss


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
    """The smoothed loss, summed over the tokens and divided by ``num_items``, and statistics of the tokens.

    ``hidden`` [N, D], ``weight`` [V, D] and ``bias`` [V] have any floating type. The computation uses
    float32, or float64 if ``hidden`` or ``weight`` is float64, also under autocast. On CUDA the factors of the
    matrix products are in bfloat16 if autocast to bfloat16 is enabled, or if hidden states and W are in
    bfloat16; their results are in float32 (``polycal.losses.backends``). ``labels`` [N] are integers in
    0 … V−1; this is not checked. Under ``torch.no_grad`` no gradient is computed. Otherwise ``backward`` can be
    called once. Raises ValueError for a wrong shape or type, β outside [0, 1), and a soft-cap of 0 or less.

    Examples:
        >>> import torch
        >>> from polycal.losses import token_statistics
        >>> with torch.no_grad():
        ...     tokens = token_statistics(torch.eye(2, 3), torch.eye(4, 3), torch.tensor([0, 2]), beta=0.1, num_items=2)
        >>> [round(nll, 3) for nll in tokens.nll.tolist()], tokens.correct.tolist()
        ([0.744, 1.744], [True, False])
    """
    _check(hidden, weight, labels, beta, bias, softcap)
    given = hidden, weight, bias, labels, beta, softcap, num_items, torch.is_grad_enabled()
    dtype = backends.product_dtype(hidden, weight)
    with torch.autocast(hidden.device.type, enabled=False):
        if backends.backend_of(hidden.device) == backends.FUSED and dtype != torch.float64:
            # imported here, so that a CPU does not import Triton
            from polycal.losses.fused_loss import FusedSmoothedLoss

            return TokenStatistics(*FusedSmoothedLoss.apply(*given, dtype))
        return TokenStatistics(*TiledSmoothedLoss.apply(*given))


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
