"""Log-sum-exp and entropy of logits that are computed one tile after another."""

import torch
from torch import Tensor

from polycal.losses.logit_tiles import BITS_PER_NAT


class RunningLogSumExp:
    """Sums over the logits z of each of T tokens that were added so far, in bits and relative to their maximum.

    This is the online softmax (Milakov & Gimelshein 2018, arXiv 1805.02867, algorithm 3) with a second sum
    for the entropy. All fields are [T]: ``top`` is the maximum of z, ``exp_sum`` is Σ 2^(z − top), and
    ``exp_sum_times_logit`` is Σ 2^(z − top) (z − top).
    """

    def __init__(self, tokens: int, *, dtype: torch.dtype, device: torch.device) -> None:
        self.top = torch.full((tokens,), torch.finfo(dtype).min, dtype=dtype, device=device)
        self.exp_sum = torch.zeros_like(self.top)
        self.exp_sum_times_logit = torch.zeros_like(self.top)

    def add(self, logits: Tensor, *, differences: Tensor, powers: Tensor) -> None:
        """Add ``logits`` [T, C] in bits.

        ``differences`` [T, C] and ``powers`` [T, C] are buffers that are overwritten. Afterwards ``powers``
        contains 2^(logits − top). It may be the same memory as ``logits``.
        """
        top = torch.maximum(self.top, logits.amax(1))
        # Rescale the sums to the new maximum.
        scale, shift = torch.exp2(self.top - top), (self.top - top) * self.exp_sum
        torch.sub(logits, top[:, None], out=differences)
        torch.exp2(differences, out=powers)
        self.exp_sum_times_logit = (self.exp_sum_times_logit + shift) * scale + differences.mul_(powers).sum(
            1
        )
        self.exp_sum = self.exp_sum * scale + powers.sum(1)
        self.top = top

    def nll(self, label_logit: Tensor) -> Tensor:
        """Negative log-likelihood in nats, [T], of the labels with logits ``label_logit`` [T] in bits."""
        return self.exp_sum.log() - (label_logit - self.top) / BITS_PER_NAT

    def entropy(self) -> Tensor:
        """Entropy of the softmax in nats, [T]."""
        return self.exp_sum.log() - self.exp_sum_times_logit / self.exp_sum / BITS_PER_NAT
