"""A cell whose training takes seconds. As in the workflow, it is trained in separate processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

from helpers import models
from polycal.artifacts import records

SETTINGS = {
    "epochs": "2",
    "global_batch_size": 4,
    "micro_batch_size": 1,
    "warmup_ratio": "0.25",
    "dropout": "0",
    "weight_decay": "0",
    "max_grad_norm": "1",
    "max_length": 64,
    "reduction": "mean",
    "precision": "float32",
    "gradient_checkpointing": False,
    "chat_template": "tulu",
    "attention": "eager",
}


def prepare(folder: Path) -> None:
    """Write a model that ZeRO-3 partitions, and conversations of very different lengths.

    Six conversations are for training, which is not a multiple of the global batch of four. One is held out.
    """
    # DeepSpeed partitions only parameters of at least 100,000 numbers; here the embedding and the head
    models.save("llama", folder / "llama", vocabulary=4000)
    rows = [
        {
            "messages": [
                {"role": "user", "content": "q" * n},
                {"role": "assistant", "content": "ab" * n * n},
            ],
            "source": "s",
            "language": "en",
            "split": "heldout" if n == 7 else "train",
        }
        for n in range(1, 8)
    ]
    records.write(folder / "rows.parquet", rows, records.CONVERSATION)


def start(
    folder: Path,
    name: str,
    *,
    lr: str = "1e-2",
    ranks: int = 1,
    zero: int = 2,
    minutes: float = 10,
    **settings: object,
):
    """Start ``polycal finetune`` for one cell. Its outputs are in ``folder``/``name``.

    ``zero`` is the ZeRO stage, and ``minutes`` is the time between two saves. ``settings`` replace those of SETTINGS.
    """
    cell = {
        "stage": "finetune",
        "model": "llama",
        "beta": "0.1",
        "seed": "0",
        "lr": lr,
        "settings": {**SETTINGS, **settings},
    }
    (folder / name).mkdir(exist_ok=True)
    options = {
        "cell": json.dumps(cell),
        "model": folder / "llama",
        "instructions": folder / "rows.parquet",
        "out": folder / name / "manifest.json",
        "zero-stage": zero,
        "ranks": ranks,
        "save-minutes": minutes,
    }
    words = [f"--{option}={value}" for option, value in options.items()]
    command = [sys.executable, "-c", "from polycal.cli import main; main()", "finetune", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def train(folder: Path, name: str, **options: object) -> tuple[dict, str]:
    """Run a training to its end. Returns the manifest and the output."""
    process = start(folder, name, **options)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return json.loads((folder / name / "manifest.json").read_text()), output
