"""A training step and scoring of a model of the 1B class on a GPU, with random weights."""

import math
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

CONVERSATIONS = 128
"""Conversations of a global batch."""
QUESTIONS = 512


def run_step(report: Any, device: torch.device, small: bool) -> None:
    """Tokens per second and share of the peak of a whole step, for several ways to cut its global batch."""
    from polycal.data.tokenized import TokenizedRows
    from polycal.losses import smoothed_head
    from polycal.training import batches, micro_batches

    conversations = _conversations(8 if small else CONVERSATIONS, 24 if small else 120, seed=0)
    rows = TokenizedRows.collect((tokens, np.arange(len(tokens)) > 0) for tokens in conversations)
    numbers, lengths = range(len(rows)), rows.lengths
    budget = 240 if small else 8192
    modes = {
        "micro_batch 1": (batches.pad, micro_batches.by_size(numbers, 1)),
        "padded by 8": (batches.pad, micro_batches.by_size(numbers, 8)),
        f"by tokens, {budget}": (batches.pack, micro_batches.by_tokens(numbers, lengths, budget)),
        f"by tokens, {budget // 4}": (batches.pack, micro_batches.by_tokens(numbers, lengths, budget // 4)),
    }
    model = _model(device, small, torch.float32)
    smoothed_head.install(model, 0.1)
    # A rate of 0 costs the same, and all modes see the same weights.
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, fused=device.type == "cuda")
    tokens = len(rows.tokens)
    flops = 3 * sum(_forward_flops(model, length, predictions=length - 1) for length in lengths.tolist())
    peak = _peak(device, small)
    report.add("step", "device", {"peak TFLOP/s": peak / 1e12})
    for name, (arrange, cut) in modes.items():
        if report.time_is_over(name):
            return
        inputs = [_on_device(arrange(rows, part, 0), device) for part in cut]
        try:
            # The first calls compile.
            _gradients(model, inputs[:2], device)
            optimizer.zero_grad()
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            begun = _now(device)
            loss = _gradients(model, inputs, device)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            spent = _now(device) - begun
            # The optimizer's first step creates its state.
            optimizer.step()
            begun = _now(device)
            optimizer.step()
            spent += _now(device) - begun
        except torch.OutOfMemoryError as error:
            report.skip(name, error)
            continue
        finally:
            optimizer.zero_grad()
        figures = {"tokens/s": tokens / spent, "share of peak": flops / spent / peak, "loss": loss / tokens}
        figures["micro-batches"] = len(inputs)
        figures["padding"] = 1 - tokens / sum(part["input_ids"].numel() for part in inputs)
        if device.type == "cuda":
            figures["peak GiB"] = torch.cuda.max_memory_allocated() / 2**30
        report.add("step", name, figures)


def run_scoring(report: Any, device: torch.device, small: bool) -> None:
    """Questions per second, letters and texts, and the differences between bfloat16 and float32."""
    from polycal.scoring import candidate_scores

    model = _model(device, small, torch.bfloat16).eval()
    peak = _peak(device, small)
    for kind, length in (("letters", 1), ("texts", 10)):
        if report.time_is_over(kind):
            return
        trees = _questions(model, 8 if small else QUESTIONS, length, 16 if small else 90)
        budget = candidate_scores._default_budget(model, False)
        flops = sum(_forward_flops(model, len(tree), len({r.node for r in tree.reads})) for tree in trees)
        none = np.empty(0, dtype=np.int64)
        with torch.inference_mode():
            candidate_scores.score_trees(model, none, trees[:64], budget)
            begun = _now(device)
            scores, forward, budget = candidate_scores.score_trees(model, none, trees, budget)
            spent = _now(device) - begun
            report.add(
                "scoring",
                kind,
                {
                    "questions/s": len(trees) / spent,
                    "share of peak": flops / spent / peak,
                    "share in the model": forward / spent,
                    "token budget": budget,
                },
            )
            part = trees[:64]
            exact, *_ = candidate_scores.score_trees(model.float(), none, part, budget)
            model.bfloat16()
        differences = np.array([abs(scores[key] - value) for key, value in exact.items()])
        report.add(
            "scoring",
            f"{kind}, float32 - bfloat16",
            {"largest nats": differences.max(), "mean nats": differences.mean()},
        )


def _model(device: torch.device, small: bool, dtype: torch.dtype) -> Any:
    """A Llama with the sizes of Llama 3.2 1B and random weights, or a tiny one."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {
        "vocab_size": 1_000 if small else 128_256,
        "hidden_size": 64 if small else 2_048,
        "intermediate_size": 128 if small else 8_192,
        "num_hidden_layers": 2 if small else 16,
        "num_attention_heads": 4 if small else 32,
        "num_key_value_heads": 2 if small else 8,
    }
    torch.manual_seed(0)
    config = LlamaConfig(
        **sizes, max_position_embeddings=8_192, tie_word_embeddings=True, attn_implementation="sdpa"
    )
    with torch.device(device):
        return LlamaForCausalLM(config).to(dtype)


def _peak(device: torch.device, small: bool) -> float:
    """The device's bfloat16 FLOP/s: of its data sheet, or measured with a product of large matrices."""
    from polycal.training import speed

    known = speed.peak_flops("bfloat16")
    if known is not None:
        return known
    size = 256 if small else 8_192
    left, right = torch.randn(2, size, size, device=device, dtype=torch.bfloat16).unbind()
    left @ right
    begun = _now(device)
    for _ in range(3):
        left @ right
    return 3 * 2 * size**3 / (_now(device) - begun)


def _forward_flops(model: Any, tokens: int, predictions: int) -> float:
    """FLOPs of a forward pass over one sequence: two per weight and token, causal attention, the head where needed."""
    config = model.config
    heads, head = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    attention = config.hidden_size * head * (2 * heads + 2 * config.num_key_value_heads)
    layer = 2 * (attention + 3 * config.hidden_size * config.intermediate_size) * tokens
    layer += 2 * tokens**2 * heads * head
    return config.num_hidden_layers * layer + 2 * config.hidden_size * config.vocab_size * predictions


def _conversations(count: int, mean: int, seed: int) -> list[np.ndarray]:
    """Random tokens of ``count`` conversations with a long tail of lengths, like Alpaca's."""
    draw = np.random.default_rng(seed)
    sigma = 0.7
    lengths = draw.lognormal(math.log(mean) - sigma**2 / 2, sigma, count).clip(8, 8 * mean).astype(int)
    return [draw.integers(3, 1_000, length) for length in lengths]


def _on_device(arrays: dict[str, np.ndarray], device: torch.device) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}


def _gradients(model: Any, inputs: list[dict[str, Tensor]], device: torch.device) -> float:
    """Forward and backward passes of all micro-batches, as in training. Returns the summed loss."""
    from polycal.training import packed_attention

    targets = sum(int((part["labels"][:, 1:] != -100).sum()) for part in inputs)
    losses = []
    for part in inputs:
        with packed_attention.within(part):
            with torch.autocast(device.type, dtype=torch.bfloat16):
                loss = model(**part, num_items_in_batch=targets).loss
            loss.backward()
        losses.append(loss.detach())
    return targets * float(torch.stack(losses).sum())


def _questions(model: Any, count: int, length: int, mean: int) -> list[Any]:
    """Trees of questions with four candidates of ``length`` random tokens after about ``mean`` tokens."""
    from polycal.scoring.candidates import Candidate
    from polycal.scoring.token_trees import build_tree

    trees = []
    draw = np.random.default_rng(1)
    for number, prompt in enumerate(_conversations(count, mean, seed=2)):
        options = draw.integers(3, model.config.vocab_size, (4, length))
        options[:, 0] = 3 + 7 * np.arange(4)
        trees.append(
            build_tree(
                [
                    Candidate(number, option, [*map(int, prompt), *map(int, tokens)], len(prompt))
                    for option, tokens in enumerate(options)
                ]
            )
        )
    return trees


def _now(device: torch.device) -> float:
    """Seconds of a clock, after the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
