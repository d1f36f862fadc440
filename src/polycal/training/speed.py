"""How fast a training was: tokens per second, share of the device's peak, and shares of padding and of saving.

Model FLOPs are the floating-point operations that a forward and a backward pass need. Recomputed activations, padding
and optimizer are not counted. Their share of the peak is the MFU (Chowdhery et al. 2022, arXiv 2204.02311, appendix
B). Unlike there, the output head is counted for target tokens only, because the loss computes it for no others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from polycal.training import micro_batches

TERA = 1e12
PEAK_TFLOPS = {
    ("NVIDIA B200", "bfloat16"): 2250.0,
    ("H200", "bfloat16"): 989.0, ("H200", "float32"): 67.0,
    ("H100 PCIe", "bfloat16"): 756.0, ("H100 PCIe", "float32"): 51.0,
    ("H100", "bfloat16"): 989.0, ("H100", "float32"): 67.0,
    ("A100", "bfloat16"): 312.0, ("A100", "float32"): 19.5,
    ("L40S", "bfloat16"): 362.0, ("L40S", "float32"): 91.6,
}  # fmt: skip
"""Dense peak of a GPU in TFLOP/s by a part of its name and the precision, from NVIDIA's data sheets.

The first name that fits counts. float32 is without TF32, as polycal computes.
"""


@dataclass(frozen=True)
class Work:
    """The work of some steps, summed over all ranks.

    ``tokens`` and ``targets`` are numbers of tokens without padding, ``computed`` is the number with it, and ``pairs``
    is the sum of squares of the lengths of conversations.
    """

    tokens: int = 0
    targets: int = 0
    computed: int = 0
    pairs: int = 0


def work(
    lengths: np.ndarray,
    targets: np.ndarray,
    steps: Sequence[Sequence[Sequence[int]]],
    padded: bool,
    ranks: int,
) -> Work:
    """The work of ``steps``, whose micro-batches are lists of rows.

    ``lengths`` and ``targets`` are the numbers of tokens and of target tokens of each row. With ``padded``, the rows
    of a micro-batch have the length of its longest. Empty micro-batches of a rank compute one token.
    """
    tokens = wanted = computed = pairs = 0
    for step in steps:
        for part in step:
            rows = [row for row in part if row != micro_batches.PADDING_ROW]
            own = lengths[rows].astype(np.int64)
            tokens += int(own.sum())
            wanted += int(targets[rows].sum())
            pairs += int((own**2).sum())
            computed += len(part) * int(own.max(initial=1)) if padded else int(own.sum())
        computed += -len(step) % ranks
    return Work(tokens, wanted, computed, pairs)


@dataclass(frozen=True)
class ModelSize:
    """Sizes of a model that determine its FLOPs: parameters of the layers, of the head, and width of all attention."""

    body: int
    head: int
    attention: int

    @classmethod
    def of(cls, model: Any) -> "ModelSize":
        """The sizes of a whole model, before DeepSpeed partitions it."""
        head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
        apart = {id(p) for part in (head, embeddings) if part is not None for p in part.parameters()}
        config = model.config.get_text_config()
        heads = getattr(config, "num_attention_heads", 0)
        width = getattr(config, "head_dim", None) or config.hidden_size // max(heads, 1)
        return cls(
            body=sum(p.numel() for p in model.parameters() if id(p) not in apart),
            head=0 if head is None else sum(p.numel() for p in head.parameters()),
            attention=getattr(config, "num_hidden_layers", 0) * heads * width,
        )

    def flops(self, done: Work) -> float:
        """Model FLOPs of a forward and a backward pass."""
        return 6.0 * (self.body * done.tokens + self.head * done.targets) + 12.0 * self.attention * done.pairs


def peak_flops(precision: str) -> float | None:
    """Peak of this rank's GPU in FLOP/s, or None on a CPU and on a GPU whose peak is not known."""
    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name()
    found = (peak for (part, kind), peak in PEAK_TFLOPS.items() if part in name and kind == precision)
    peak = next(found, None)
    return None if peak is None else peak * TERA


def facts(
    size: ModelSize, done: Work, seconds: float, saving: float, ranks: int, precision: str
) -> dict[str, float | None]:
    """The entry ``speed`` of a manifest.

    ``seconds`` is the time of the steps of this run without saving, and ``saving`` is the time of saving its state.
    """
    flops, peak = size.flops(done) / max(seconds, 1e-9), peak_flops(precision)
    return {
        "seconds": round(seconds, 3),
        "tokens_per_second": done.tokens / max(seconds, 1e-9),
        "flops_per_second": flops,
        "mfu": None if peak is None else flops / (ranks * peak),
        "padding_share": 1 - done.tokens / max(done.computed, 1),
        "saving_share": saving / max(seconds + saving, 1e-9),
    }


def sentence(speed: Mapping[str, Any]) -> str:
    """The facts in words, for the log."""
    mfu = "" if speed["mfu"] is None else f" ({speed['mfu']:.0%} of the peak)"
    return (
        f"trained {speed['tokens_per_second']:,.0f} tokens/s, {speed['flops_per_second'] / TERA:.3g} TFLOP/s{mfu};"
        f" padding {speed['padding_share']:.0%} of the tokens, saving {speed['saving_share']:.1%} of the time"
    )
