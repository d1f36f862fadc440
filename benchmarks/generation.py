"""Speed of generated answers, compared with transformers' own ``generate`` on the same model, prompts and batch.

    python benchmarks/generation.py [--rounds 3] [--questions 16] [--samples 3] [--threads N] [--clock wall|cpu]
        [--model FOLDER] [--csv FILE]

Without a model, one of random weights is made: 8 layers of width 512 and 32,000 tokens. Each side answers the same
prompts, of which some are padded, with one greedy and several sampled answers of the same length. polycal does so in
one call. transformers needs two, a greedy one and one with ``do_sample`` and ``num_return_sequences``.

In a warm-up, greedy answers of both sides must be equal where no two logits are nearly equal. Then each round runs both
sides, in alternating order. The ratio is the median over the rounds of the tokens per second of polycal divided by those
of transformers; at least 0.7 is needed. With --clock cpu, times are CPU times of the process, for a machine that runs
other work.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import smoothing
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

import results
from polycal.scoring import answer_generation
from polycal.scoring.answer_generation import Sampling
from polycal.scoring.token_choice import uniform_numbers

LEAST = 0.7
PADDING = 0
VERSIONS = ("torch", "transformers")


def model_of(folder: Path | None) -> torch.nn.Module:
    if folder is not None:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    torch.manual_seed(0)
    shape = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8}
    return LlamaForCausalLM(LlamaConfig(vocab_size=32_000, **shape)).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--questions", type=int, default=16)
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--prompt", type=int, default=48, help="tokens of the longest prompt")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--csv", type=Path, help="append the figures to this file")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model, rng = model_of(given.model), np.random.default_rng(0)
    lengths = rng.integers(given.prompt // 2, given.prompt + 1, given.questions)
    prompts = [rng.integers(3, model.config.vocab_size, length) for length in lengths]
    uniform = np.stack(
        [uniform_numbers(0, str(n), given.samples, given.steps) for n in range(given.questions)]
    )
    ids, mask = answer_generation.left_padded(prompts, PADDING)
    common = {
        "attention_mask": mask,
        "max_new_tokens": given.steps,
        "pad_token_id": PADDING,
        "eos_token_id": None,
    }

    def ours() -> np.ndarray:
        made = answer_generation.generate(model, prompts, uniform, (), PADDING, Sampling())
        near = made.near_tie[:, 0].any(-1)
        return np.where(near[:, None], -1, made.tokens[:, 0])

    def theirs() -> np.ndarray:
        greedy = model.generate(ids, do_sample=False, **common)
        model.generate(
            ids,
            do_sample=True,
            temperature=1.0,
            top_p=1.0,
            top_k=0,
            num_return_sequences=given.samples,
            **common,
        )
        return greedy[:, ids.shape[1] :].numpy()

    tokens = given.questions * (1 + given.samples) * given.steps
    sides = {"polycal": ours, "transformers": theirs}
    answers = {name: side() for name, side in sides.items()}
    near = answers["polycal"] < 0
    if not (near | (answers["polycal"] == answers["transformers"])).all():
        raise SystemExit("the greedy answers of polycal and transformers differ")
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(given.rounds):
        for name in list(sides) if turn % 2 == 0 else reversed(sides):
            speeds[name].append(tokens / smoothing.seconds(sides[name], given.clock))
    ratios = [a / b for a, b in zip(speeds["polycal"], speeds["transformers"], strict=True)]
    for name, found in speeds.items():
        print(f"{name}: {np.median(found):.1f} tokens/s")
    print(f"ratio: {np.median(ratios):.2f} of {[round(ratio, 2) for ratio in ratios]}, at least {LEAST}")
    print(f"greedy tokens with nearly equal logits: {near.sum()} of {near.size}")
    case = (
        f"{given.questions} questions, {given.samples} samples, {given.steps} tokens, {given.threads} threads,"
        f" {given.clock} time, {given.rounds} rounds"
    )
    figures = {f"{name}, tokens/s": float(np.median(found)) for name, found in speeds.items()}
    results.append(given.csv, "generation", case, {**figures, "ratio": float(np.median(ratios))}, VERSIONS)
    if np.median(ratios) < LEAST:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
