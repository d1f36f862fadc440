"""Tokens per second of training by micro-batches of tokens, compared with padded micro-batches.

    python benchmarks/packing.py [--rounds 5] [--conversations 64] [--tokens 4096 1024] [--threads N]
        [--clock wall|cpu] [--csv FILE]

A step is a forward and a backward pass over one global batch of conversations with the lengths of Alpaca: mean 120
tokens and a long tail. The model is a small Llama with random weights. The sides use the same model and conversations
in one process:

- packed N: polycal's micro-batches of at most N tokens, without padding
- padded 8, single: polycal's loss on padded micro-batches of 8, and on one conversation at a time
- TRL padded 8, TRL single: SFTTrainer.compute_loss on the same micro-batches

In a warm-up, the losses of all sides must agree. Then each round runs every side once, in alternating order. A ratio
is the median over the rounds of the ratio in a round. Growth is the highest resident set of a step beyond the one
before it. "packed" with the length of the longest conversation needs as much memory as one conversation at a time.
With --clock cpu, times are CPU times of the process, for a machine that runs other work.
"""

import argparse
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import smoothing
import torch

import results
from polycal.data.tokenized import TokenizedRows
from polycal.losses import smoothed_head
from polycal.training import batches, micro_batches, packed_attention

VOCABULARY, WIDTH, LAYERS = 8000, 256, 4
LEAST = {"TRL padded 8": 1.5, "TRL single": 1.2}
"""The smallest accepted ratio of the time of a side to that of the first packed side."""
VERSIONS = ("torch", "transformers", "trl")


def conversations(number: int) -> TokenizedRows:
    """Random conversations whose lengths are distributed as those of Alpaca, half of them targets."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(4.5, 0.75, number), 20, 2048).astype(int)
    return TokenizedRows.collect(
        (random.integers(4, VOCABULARY, n).astype(np.int32), np.arange(n) > n // 2) for n in lengths
    )


def model_of(width: int = WIDTH, heads: int = 8, key_value_heads: int = 4) -> torch.nn.Module:
    """A small Llama with random weights for training."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=LAYERS,
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads,
    )
    return LlamaForCausalLM._from_config(config, attn_implementation="sdpa").train()


def sides(rows: TokenizedRows, tokens: list[int], folder: str) -> dict[str, Callable[[], float]]:
    """For each side, a function that computes the gradients of a global batch and returns its loss."""
    model, numbers = model_of(), list(range(len(rows)))
    targets = int(rows.targets.sum())
    trainer = smoothing.trl_trainer(model, 0.0, folder)
    trl = model.forward
    smoothed_head.install(model, 0.0)
    own = model.forward

    def tensors(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def run(forward: Callable, loss: Callable, parts: list[dict[str, torch.Tensor]]) -> float:
        model.forward = forward
        model.zero_grad()
        total = 0.0
        for part in parts:
            with packed_attention.within(part):
                value = loss(part)
                value.backward()
            total += float(value.detach())
        return total

    def ours(part: dict[str, torch.Tensor]) -> torch.Tensor:
        return model(**part, num_items_in_batch=targets).loss

    def theirs(part: dict[str, torch.Tensor]) -> torch.Tensor:
        return trainer.compute_loss(model, dict(part), num_items_in_batch=torch.tensor(targets))

    made = {}
    for limit in tokens:
        cut = micro_batches.by_tokens(numbers, rows.lengths, limit)
        packed = [tensors(batches.pack(rows, part, 0)) for part in cut]
        made[f"packed {limit}"] = lambda packed=packed: run(own, ours, packed)
    for name, size in (("padded 8", 8), ("single", 1)):
        padded = [tensors(batches.pad(rows, part, 0)) for part in micro_batches.by_size(numbers, size)]
        made[name] = lambda padded=padded: run(own, ours, padded)
        made[f"TRL {name}"] = lambda padded=padded: run(trl, theirs, padded)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--conversations", type=int, default=64)
    parser.add_argument("--tokens", type=int, nargs="+", default=[4096, 1024])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--csv", type=Path, help="append the figures to this file")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    rows = conversations(options.conversations)
    total, longest = len(rows.tokens), int(rows.lengths.max())
    print(f"{len(rows)} conversations, {total} tokens, the longest {longest}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        steps = sides(rows, options.tokens, folder)
        losses = {name: step() for name, step in steps.items()}
        if max(losses.values()) - min(losses.values()) > 1e-4 * max(losses.values()):
            raise SystemExit(f"the sides compute different losses: {losses}")
        memory = smoothing.Memory()
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
        for turn in range(options.rounds):
            for name in list(steps) if turn % 2 == 0 else reversed(steps):
                before = memory.reset()
                spent = smoothing.seconds(steps[name], options.clock)
                found[name].append((spent, memory.peak() - before))
    first = next(iter(steps))
    figures, missed = {}, False
    for name, values in found.items():
        figures[f"{name}, tokens/s"] = total / float(np.median([seconds for seconds, _ in values]))
        figures[f"{name}, growth MB"] = float(np.median([growth for _, growth in values]))
        for packed in [side for side in steps if side.startswith("packed") and side != name]:
            if not name.startswith("packed"):
                figures[f"{packed} against {name}"] = float(
                    np.median([a[0] / b[0] for a, b in zip(values, found[packed], strict=True)])
                )
    for name, value in figures.items():
        print(f"  {name:<36} {value:.3f}")
    for name, least in LEAST.items():
        value = figures[f"{first} against {name}"]
        missed |= value < least
        print(
            f"  target: {first} against {name} {value:.2f}, {least} wanted: {'MISSED' if value < least else 'reached'}"
        )
    case = (
        f"{len(rows)} conversations, {total} tokens, V={VOCABULARY} D={WIDTH} {LAYERS} layers, {options.threads} threads,"
        f" {options.clock} time, {options.rounds} rounds"
    )
    results.append(options.csv, "packing", case, figures, VERSIONS)
    if missed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
