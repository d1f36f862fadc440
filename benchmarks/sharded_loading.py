"""Main memory of a rank while ZeRO stage 3 loads and partitions a model, until the optimizer exists.

    python benchmarks/sharded_loading.py [--layers 20] [--types bfloat16 float32] [--precision bfloat16]
        [--ranks 2] [--csv FILE]

The model is a Llama with random weights, in files of at most 500 MB: with 20 layers, 1.1 billion parameters, which are
4.6 GB in float32. Each rank is a process with one thread, and they communicate by gloo. A rank loads the model,
checks the loss on one conversation and partitions the weights, as every training does. It ends where the training
would start.

A rank's memory is that of no file (RssAnon), sampled every 5 ms, less what it has after its imports. Mapped files are
not in it, because the system can drop their pages. At most the rank's share of the weights in float32, one file and
1 GB are accepted.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch

import results

FILE_MB, SLACK_MB = 500, 1_000
SETTINGS = {
    "epochs": "1", "global_batch_size": 2, "micro_batch_size": 1, "warmup_ratio": "0", "dropout": "0",
    "weight_decay": "0", "max_grad_norm": "1", "max_length": 512, "reduction": "mean",
    "gradient_checkpointing": False, "chat_template": "tulu", "attention": "sdpa",
}  # fmt: skip
VERSIONS = ("torch", "transformers", "deepspeed")


class Memory:
    """The memory of this process that belongs to no file, in MB. ``peak`` is the highest value seen."""

    def __init__(self) -> None:
        self.peak = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def now(self) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        value = next(float(line.split()[1]) / 1e3 for line in lines if line.startswith("RssAnon"))
        self.peak = max(self.peak, value)
        return value

    def _watch(self) -> None:
        while True:
            self.now()
            time.sleep(0.005)


def save_model(folder: Path, layers: int, dtype: str) -> float:
    """Write a Llama with random weights and a tokenizer to ``folder``, and return its parameters."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: number for number, letter in enumerate([*alphabet, "</s>"])}, []))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>").save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=128_256, hidden_size=2_048, intermediate_size=5_632, num_hidden_layers=layers,
        num_attention_heads=32, num_key_value_heads=4, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlamaForCausalLM._from_config(config, dtype=getattr(torch, dtype))
    model.save_pretrained(folder, max_shard_size=f"{FILE_MB}MB")
    return float(sum(parameter.numel() for parameter in model.parameters()))


def be_rank(folder: Path, precision: str) -> None:
    """Load the model in ``folder`` as one rank, and write its memory in MB to a file in ``folder``."""
    from polycal.training import training_run
    from polycal.training.trainer import SmoothedTrainer

    torch.set_num_threads(1)
    memory = Memory()
    imported = memory.now()

    def stop(*_: object, **__: object) -> None:
        partitioned, peak = memory.now(), memory.peak
        found = {"peak": peak - imported, "partitioned": partitioned - imported}
        (folder / f"rank-{os.environ['RANK']}.json").write_text(json.dumps(found))
        # The rank ends here, so its files and threads need no care.
        os._exit(0)

    SmoothedTrainer.train = stop
    cell = {
        "stage": "finetune",
        "model": "llama",
        "beta": "0.1",
        "seed": "0",
        "lr": "1e-5",
        "settings": {**SETTINGS, "precision": precision},
    }
    training_run.train(
        cell, model=folder / "model", instructions=folder / "rows.parquet", folder=folder / "out",
        fingerprint="benchmark", zero_stage=3, threads=1, save_minutes=60,
    )  # fmt: skip


def measured(folder: Path, ranks: int, precision: str) -> dict[str, float]:
    """The memory of the rank that needs most, in MB."""
    from polycal.training import launcher

    command = [sys.executable, __file__, "--rank-in", str(folder), "--precision", precision]
    if code := launcher.run(command, ranks):
        raise SystemExit(f"a rank ended with {code}")
    found = [json.loads(file.read_text()) for file in folder.glob("rank-*.json")]
    return {name: max(one[name] for one in found) for name in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=20)
    parser.add_argument(
        "--types", nargs="+", default=["bfloat16", "float32"], help="types of the saved weights"
    )
    parser.add_argument("--precision", default="bfloat16", help="type in which the weights are trained")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--csv", type=Path, help="append the figures to this file")
    parser.add_argument("--rank-in", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank_in:
        be_rank(options.rank_in, options.precision)
    from polycal.artifacts import records

    row = {"source": "s", "language": "en", "split": "train"}
    turns = [{"role": "user", "content": "q" * 100}, {"role": "assistant", "content": "a" * 200}]
    missed = False
    for dtype in options.types:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            parameters = save_model(folder / "model", options.layers, dtype)
            records.write(folder / "rows.parquet", [{"messages": turns, **row}] * 2, records.CONVERSATION)
            found = measured(folder, options.ranks, options.precision)
        most = 4 * parameters / 1e6 / options.ranks + FILE_MB + SLACK_MB
        missed |= found["peak"] > most
        case = f"{parameters / 1e9:.2f}e9 parameters saved in {dtype}, trained in {options.precision}, {options.ranks} ranks"
        print(
            f"{case}: peak {found['peak']:,.0f} MB, partitioned {found['partitioned']:,.0f} MB; target {most:,.0f} MB:"
            f" {'MISSED' if found['peak'] > most else 'reached'}",
            flush=True,
        )
        figures = {f"{name}, MB": value for name, value in found.items()}
        results.append(options.csv, "sharded loading", case, figures, VERSIONS)
    if missed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
