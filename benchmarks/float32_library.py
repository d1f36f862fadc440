"""A training step in float32 on the CPU by oneDNN, compared with PyTorch's default library.

    python benchmarks/float32_library.py [--widths 128 256 512 1024] [--rounds 5] [--threads N] [--csv FILE]

A step is a forward and a backward pass of a small Llama with random weights over 8 rows of 128 tokens, with polycal's
smoothed loss. Each round runs both libraries once. Times are CPU times of the process. A ratio is the median over the
rounds of the default's time by that of oneDNN. ``polycal.data.float32_library`` must use oneDNN on this processor.
"""

import argparse
import statistics
import time
from pathlib import Path

import packing
import torch

import results
from polycal.data import float32_library
from polycal.losses import smoothed_head

HEAD = 64
"""Width of a head of attention."""


def seconds(model: torch.nn.Module, tokens: torch.Tensor, width: int) -> float:
    """CPU seconds of one step with the library that is chosen for ``width``."""
    float32_library.choose(width)
    model.zero_grad()
    start = time.process_time()
    model(input_ids=tokens, labels=tokens).loss.backward()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[128, 256, 512, 1024])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--csv", type=Path, help="append the figures to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if float32_library.choose(float32_library.MIN_WIDTH) != float32_library.ONEDNN:
        raise SystemExit(
            "polycal uses PyTorch's default library on this processor; there is nothing to compare."
        )
    for width in arguments.widths:
        heads = width // HEAD
        model, tokens = packing.model_of(width, heads, heads), torch.randint(packing.VOCABULARY, (8, 128))
        smoothed_head.install(model, 0.1)
        sides = (0, float32_library.MIN_WIDTH)
        for side in sides:
            seconds(model, tokens, side)
        rounds = [[seconds(model, tokens, side) for side in sides] for _ in range(arguments.rounds)]
        default, onednn = (statistics.median(times) for times in zip(*rounds, strict=True))
        ratio = statistics.median(a / b for a, b in rounds)
        print(
            f"width {width:5d}: default {default:.3f} s, oneDNN {onednn:.3f} s, ratio {ratio:.2f}", flush=True
        )
        figures = {"default_s": default, "onednn_s": onednn, "ratio": ratio}
        results.append(arguments.csv, "float32_library", f"width {width}", figures, ("torch", "transformers"))


if __name__ == "__main__":
    main()
