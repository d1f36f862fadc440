"""Time and memory of one training step with the label-smoothed loss, compared with other implementations.

    python benchmarks/smoothing.py [--rounds 7] [--pairs 25] [--threads N] [--clock wall|cpu]
        [--vocabularies V ...] [--hidden D ...] [--csv FILE] [--table FILE]

A case is a vocabulary V, a hidden size D, and a soft-cap or none. Its model has two layers, tied embeddings and random
weights (Llama, or Gemma2 with its cap of 30), so that the head dominates the cost. A step is a forward and a backward
pass over 512 target tokens at D = 256, and 128 at D = 2,304. The sides use the same model and tokens in one process:

- own β=0, own β=0.1: the loss of polycal.losses, installed in the model
- TRL β=0, TRL β=0.1: SFTTrainer.compute_loss with its fused head, and with label_smoothing_factor
- PyTorch β=0.1: all logits, then torch.nn.functional.cross_entropy
- CCE β=0: cut-cross-entropy, which has no smoothing; on a CPU its torch.compile path. Its import needs triton
- Liger β=0.1: its fused linear cross-entropy, on CUDA only
- products: only the three products with the head's weight, which every step needs

In a warm-up, the losses of all sides must agree. Then each round runs every side once, in alternating order. A ratio
is the median over the rounds of the ratio in a round. Memory is the resident set of the process, or that of the
allocator on CUDA: the highest value in a step, in all (peak) and beyond the loaded model (growth). The smallest cases
run additional pairs to compare β = 0.1 with β = 0. With --clock cpu, times are CPU times of the process, for a machine
that runs other work.
"""

import argparse
import ctypes
import functools
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.stats import binom

import results

VOCABULARIES = (32000, 128256, 256000)
TOKENS = {256: 512, 2304: 128}
CAP = 30.0
BETA = 0.1
SMALLEST = (32000, 256)
VERSIONS = ("torch", "transformers", "trl")

Step = Callable[[], torch.Tensor]


def model_of(v: int, d: int, softcap: bool) -> torch.nn.Module:
    """A model of two layers; if there is a GPU, on it and in bfloat16."""
    from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {
        "vocab_size": v,
        "hidden_size": d,
        "intermediate_size": 2 * d,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 64,
        "tie_word_embeddings": True,
        "attn_implementation": "eager",
    }
    model = (
        Gemma2ForCausalLM(Gemma2Config(**sizes, final_logit_softcapping=CAP))
        if softcap
        else LlamaForCausalLM(LlamaConfig(**sizes))
    )
    return model.to("cuda", torch.bfloat16) if torch.cuda.is_available() else model


def trl_trainer(model: torch.nn.Module, beta: float, folder: str) -> object:
    """TRL's trainer with its defaults; only its loss is called."""
    from datasets import Dataset
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    words = Tokenizer(WordLevel({"<unk>": 0, "</s>": 1}, unk_token="<unk>"))
    return SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=folder,
            label_smoothing_factor=beta,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=not torch.cuda.is_available(),
            report_to="none",
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=Dataset.from_dict({"input_ids": [[0, 1]]}),
        processing_class=PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", pad_token="</s>"),
    )


def sides(model: torch.nn.Module, v: int, softcap: bool, tokens: int, folder: str) -> dict[str, Step]:
    """For each side, a function that computes loss and gradients and returns the mean loss."""
    from polycal.losses import smoothed_head

    device = model.get_output_embeddings().weight.device
    cap = CAP if softcap else None
    ids = torch.randint(4, v, (max(1, tokens // 128), 129), device=device)
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
    targets = ids[:, 1:].flatten()

    native = model.forward
    trainers = {beta: trl_trainer(model, beta, folder) for beta in (0.0, BETA)}
    fused = model.forward
    own = {}
    for beta in (0.0, BETA):
        smoothed_head.install(model, beta)
        own[beta] = model.forward

    def hidden() -> torch.Tensor:
        return (
            model.base_model(input_ids=ids, attention_mask=given["attention_mask"])
            .last_hidden_state[:, :-1]
            .flatten(0, 1)
        )

    def ours(beta: float) -> torch.Tensor:
        model.forward = own[beta]
        return model(**given, num_items_in_batch=tokens).loss

    def trl(beta: float) -> torch.Tensor:
        model.forward = fused
        return trainers[beta].compute_loss(model, dict(given), num_items_in_batch=torch.tensor(tokens))

    def pytorch() -> torch.Tensor:
        model.forward = native
        logits = model(input_ids=ids, attention_mask=given["attention_mask"]).logits[:, :-1].flatten(0, 1)
        return torch.nn.functional.cross_entropy(logits.float(), targets, label_smoothing=BETA)

    made: dict[str, Callable[[], torch.Tensor]] = {
        "own β=0": lambda: ours(0.0),
        "own β=0.1": lambda: ours(BETA),
        "TRL β=0": lambda: trl(0.0),
        "TRL β=0.1": lambda: trl(BETA),
        "PyTorch β=0.1": pytorch,
    }
    weight = model.get_output_embeddings().weight
    try:
        from cut_cross_entropy import linear_cross_entropy

        implementation = "cce" if device.type == "cuda" else "torch_compile"
        made["CCE β=0"] = lambda: linear_cross_entropy(
            hidden(), weight, targets, softcap=cap, impl=implementation
        )
    except ImportError as missing:
        print(f"cut-cross-entropy does not run here: {missing}", file=sys.stderr)
    if device.type == "cuda":
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

        liger = LigerFusedLinearCrossEntropyLoss(label_smoothing=BETA, softcap=cap)
        made["Liger β=0.1"] = lambda: liger(weight, hidden(), targets)

    def step(loss: Callable[[], torch.Tensor]) -> torch.Tensor:
        value = loss()
        value.backward()
        return value.detach()

    @torch.no_grad()
    def products() -> torch.Tensor:
        h = torch.ones(tokens, weight.shape[1], dtype=weight.dtype, device=device)
        z = h @ weight.T
        z.T @ h
        return (z @ weight).sum()

    return {name: functools.partial(step, loss) for name, loss in made.items()} | {"products": products}


class Memory:
    """Memory of the process, or of the GPU's allocator, in MiB: now, and its peak since the last reset."""

    def __init__(self) -> None:
        self.cuda = torch.cuda.is_available()

    def reset(self) -> float:
        """Reset the peak. Returns the memory in use."""
        gc.collect()
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
            return torch.cuda.memory_allocated() / 2**20
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        return self._resident("VmRSS")

    def peak(self) -> float:
        """The highest value since the last reset."""
        return torch.cuda.max_memory_allocated() / 2**20 if self.cuda else self._resident("VmHWM")

    @staticmethod
    def _resident(name: str) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def seconds(step: Step, clock: str) -> float:
    read = time.process_time if clock == "cpu" else time.perf_counter
    begun = read()
    step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return read() - begun


def measured(case: tuple[int, int, bool], rounds: int, pairs: int, clock: str) -> dict[str, dict]:
    """For each side of a case: seconds, growth and peak in MiB, each [rounds]; and the ratios of the extra pairs."""
    v, d, softcap = case
    tokens = TOKENS[d]
    memory = Memory()
    with tempfile.TemporaryDirectory() as folder:
        model = model_of(v, d, softcap)
        steps = sides(model, v, softcap, tokens, folder)
        losses = {}
        for name, step in steps.items():
            losses[name] = float(step())
            model.zero_grad(set_to_none=True)
        for beta in ("β=0", "β=0.1"):
            alike = {name: loss for name, loss in losses.items() if name.endswith(beta)}
            tolerance = 2e-2 if torch.cuda.is_available() else 1e-4
            if max(alike.values()) - min(alike.values()) > tolerance:
                raise SystemExit(f"the sides compute different losses: {alike}")
        costs = {name: {"seconds": [], "growth": [], "peak": []} for name in steps}
        for number in range(rounds):
            for name in list(steps)[:: 1 if number % 2 else -1]:
                before = memory.reset()
                costs[name]["seconds"].append(seconds(steps[name], clock))
                costs[name]["growth"].append(memory.peak() - before)
                costs[name]["peak"].append(memory.peak())
                model.zero_grad(set_to_none=True)
        ratios = []
        for number in range(pairs if (v, d) == SMALLEST else 0):
            pair = {}
            for name in ["own β=0", "own β=0.1"][:: 1 if number % 2 else -1]:
                pair[name] = seconds(steps[name], clock)
                model.zero_grad(set_to_none=True)
            ratios.append(pair["own β=0.1"] / pair["own β=0"])
        return {"sides": costs, "pairs": ratios}


def interval(ratios: Sequence[float]) -> tuple[float, float, float]:
    """(median, low, high): the median and its 95% interval, from order statistics."""
    ordered = sorted(ratios)
    rank = int(binom.ppf(0.025, len(ordered), 0.5))
    return float(np.median(ordered)), ordered[rank], ordered[-1 - rank]


def figures(costs: Mapping[str, dict]) -> dict[str, float]:
    """The numbers that are recorded of a case, by name."""
    all_sides = costs["sides"]
    named_figures = {}
    for name, side in all_sides.items():
        named_figures[f"{name}, s"] = np.median(side["seconds"])
        if name != "products":
            named_figures[f"{name}, growth MiB"] = np.median(side["growth"])
            named_figures[f"{name}, peak MiB"] = max(side["peak"])

    def over(name: str, other: str) -> float:
        paired = zip(all_sides[name]["seconds"], all_sides[other]["seconds"], strict=True)
        return float(np.median([seconds / other_seconds for seconds, other_seconds in paired]))

    named_figures["time, own β=0.1 / own β=0"] = over("own β=0.1", "own β=0")
    for name in all_sides:
        if name.startswith("own"):
            continue
        ours = "own β=0" if name.endswith("β=0") else "own β=0.1"
        named_figures[f"time, {name} / {ours}"] = over(name, ours)
        if name != "products":
            growth = named_figures[f"{name}, growth MiB"] / named_figures[f"{ours}, growth MiB"]
            named_figures[f"growth, {name} / {ours}"] = growth
    if costs["pairs"]:
        median, low, high = interval(costs["pairs"])
        named_figures |= {
            "pairs": len(costs["pairs"]),
            "pairs, own β=0.1 / own β=0": median,
            "pairs, low": low,
            "pairs, high": high,
        }
    return named_figures


def targets(case: tuple[int, int, bool], values: Mapping[str, float]) -> dict[str, tuple[float, float, bool]]:
    """The targets of a case: for each quantity (value, target, whether it is reached)."""
    v, d, _ = case
    limits: dict[str, tuple[str, float]] = {"time, TRL β=0 / own β=0": (">=", 1.0)}
    if "pairs" in values:
        limits["pairs, own β=0.1 / own β=0"] = ("<=", 1.05)
    if d == 256:
        limits["time, TRL β=0.1 / own β=0.1"] = (">=", 2.8 if v == 256000 else 2.0)
        limits["growth, TRL β=0.1 / own β=0.1"] = (">=", 2.0)
    else:
        # TRL multiplies by the head's weight four times; three times are needed.
        limits["time, TRL β=0.1 / own β=0.1"] = (">=", 0.9 * 4 / 3)
    return {
        name: (values[name], limit, values[name] <= limit if sign == "<=" else values[name] >= limit)
        for name, (sign, limit) in limits.items()
    }


def named(case: tuple[int, int, bool]) -> str:
    v, d, softcap = case
    return f"V={v} D={d} {'soft-cap' if softcap else 'no cap'} {TOKENS[d]} tokens"


def table(rows: Mapping[tuple[int, int, bool], Mapping[str, float]]) -> str:
    """A table in Markdown. Ratios are to own β = 0.1, or to own β = 0 for sides without smoothing."""
    lines = [
        "| V | D | soft-cap | own β=0.1: s, growth MiB | over own β=0 | TRL β=0.1: time, growth"
        " | TRL β=0 | PyTorch β=0.1: time, growth | CCE β=0: time, growth | Liger β=0.1: time, growth | products alone |",
        "|---:|---:|---|---|---|---|---|---|---|---|---|",
    ]
    for (v, d, softcap), values in rows.items():

        def both(name: str, ours: str, values: Mapping[str, float] = values) -> str:
            if f"{name}, s" not in values:
                return "not run"
            return f"{values[f'time, {name} / {ours}']:.2f}×, {values[f'growth, {name} / {ours}']:.2f}×"

        pairs = (
            f"{values['pairs, own β=0.1 / own β=0']:.3f} [{values['pairs, low']:.3f}, {values['pairs, high']:.3f}]"
            if "pairs" in values
            else f"{values['time, own β=0.1 / own β=0']:.2f}"
        )
        cells = [
            f"{v:,}",
            f"{d:,}",
            f"{CAP:.0f}" if softcap else "none",
            f"{values['own β=0.1, s']:.2f}, {values['own β=0.1, growth MiB']:.0f}",
            pairs,
            both("TRL β=0.1", "own β=0.1"),
            f"{values['time, TRL β=0 / own β=0']:.2f}×",
            both("PyTorch β=0.1", "own β=0.1"),
            both("CCE β=0", "own β=0"),
            both("Liger β=0.1", "own β=0.1"),
            f"{values['time, products / own β=0.1']:.2f}×",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--pairs", type=int, default=25)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--vocabularies", type=int, nargs="+", default=VOCABULARIES, metavar="V")
    parser.add_argument("--hidden", type=int, nargs="+", choices=TOKENS, default=list(TOKENS), metavar="D")
    parser.add_argument("--csv", type=Path, help="append the figures to this file")
    parser.add_argument("--table", type=Path, help="write the figures to this file as a Markdown table")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        warnings.filterwarnings("ignore")
        torch.set_num_threads(arguments.threads)
        v, d, softcap = (int(part) for part in arguments.case.split(","))
        costs = measured((v, d, bool(softcap)), arguments.rounds, arguments.pairs, arguments.clock)
        print("RESULT " + json.dumps(costs))
        return
    begun, rows, missed = time.monotonic(), {}, []
    for case in [
        (v, d, softcap) for d in arguments.hidden for v in arguments.vocabularies for softcap in (False, True)
    ]:
        # Each case has a process of its own, so that none measures memory that another has left.
        options = [f"--{name}={getattr(arguments, name)}" for name in ("rounds", "pairs", "threads", "clock")]
        options.append("--case=" + ",".join(str(int(part)) for part in case))
        ran = subprocess.run(
            [sys.executable, __file__, *options], stdout=subprocess.PIPE, text=True, check=True
        )
        line = next(line for line in ran.stdout.splitlines() if line.startswith("RESULT "))
        rows[case] = figures(json.loads(line.removeprefix("RESULT ")))
        print(f"{named(case)} ({time.monotonic() - begun:.0f} s)")
        for name, value in rows[case].items():
            print(f"  {name:<36} {value:.3f}")
        for name, (value, limit, reached) in targets(case, rows[case]).items():
            print(
                f"  target {name:<29} {value:.3f}, {limit:.3g} wanted: {'reached' if reached else 'MISSED'}"
            )
            if not reached:
                missed.append(f"{named(case)}: {name} {value:.3f}, {limit:.3g} wanted")
        sys.stdout.flush()
        setting = (
            f"{named(case)}, {arguments.threads} threads, {arguments.clock} time, {arguments.rounds} rounds"
        )
        results.append(arguments.csv, "smoothing", setting, rows[case], VERSIONS)
    if arguments.table:
        arguments.table.write_text(table(rows))
    print(table(rows))
    for line in missed:
        print(f"missed: {line}")
    if missed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
