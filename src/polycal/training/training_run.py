"""The training of one cell in one process, which is the only rank or one of several.

The order of conversations and their micro-batches are determined before training (``polycal.training.batches``,
``polycal.training.micro_batches``), so that they are the same for any number of ranks. The last global batch of an
epoch is filled up with rows without targets, which change neither loss nor gradient. The state is saved at intervals
and on a signal (``polycal.training.resume_state``). The next run with the same fingerprint resumes from it, and its
weights are bit for bit those of a run without interruption.
"""

import csv
import math
import os
import resource
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from transformers import PrinterCallback

from polycal.artifacts import checkpoints, files, records
from polycal.data import float32_library, model_loading, tokenized
from polycal.data.tokenized import TokenizedRows
from polycal.errors import CellError
from polycal.losses import backends, smoothed_head
from polycal.training import (
    batches,
    engine,
    loss_check,
    micro_batches,
    packed_attention,
    packing_check,
    resume_state,
    sharded_loading,
    speed,
)
from polycal.training.loss_check import LossCheck
from polycal.training.saving import SaveOnSignal
from polycal.training.speed import ModelSize
from polycal.training.trainer import Progress, SmoothedTrainer
from polycal.vocabulary import TRY_AGAIN

CURVE_COLUMNS = (
    "step",
    "loss",
    "nll",
    "entropy",
    "accuracy",
    "targets",
    "learning_rate",
    "grad_norm",
)
"""Columns of ``loss.csv``: one row per optimizer step, losses and entropy in nats per target token."""

MAX_EMPTY = 0.05
"""Largest share of empty micro-batches of which nothing is said."""


class FinetuneError(CellError):
    """A cell cannot be trained. The message says why."""


@dataclass(frozen=True)
class _Run:
    """A training that is ready to start: its rows, and the micro-batches of each step as numbers of rows."""

    trainer: SmoothedTrainer
    tokenizer: Any
    rows: TokenizedRows
    skipped: Counter[str]
    order: np.ndarray
    steps: list[list[list[int]]]
    self_check: LossCheck
    size: ModelSize
    resumed: resume_state.State | None


def train(
    cell: Mapping[str, Any],
    *,
    model: Path,
    instructions: Path,
    folder: Path,
    fingerprint: str,
    zero_stage: int,
    threads: int,
    save_minutes: float,
) -> dict[str, Any] | None:
    """Train one cell, write ``weights`` and ``loss.csv`` to ``folder``, and return the facts of the manifest.

    Only rank 0 returns facts; other ranks return None. ``usage`` among the facts is the resource usage of all
    ranks. The training state in ``folder/state`` remains; remove it once the manifest is written.

    Raises SystemExit with TRY_AGAIN if a signal stopped the run after it saved its state. Before training, raises
    ChatError, RecordError, CheckpointError or ModelError for bad input, FinetuneError if there is nothing to train on,
    LossCheckError if polycal's loss does not reproduce that of the model's own logits, and PackingError if the model
    cannot keep the conversations of a packed row apart.
    Raises DivergenceError as soon as the loss, the gradient or the weights are not finite, and EngineError if
    DeepSpeed did not train as configured.
    """
    started = time.monotonic()
    torch.set_num_threads(threads)
    saving = SaveOnSignal(60 * save_minutes)
    try:
        run = _prepare(cell, model, instructions, folder, fingerprint, zero_stage, saving)
        if run.trainer.is_world_process_zero():
            _say_empty(run.steps, run.trainer.args.world_size)
        run.trainer.started = started - (float(run.resumed.note.get("seconds", 0)) if run.resumed else 0)
        run.trainer.train(resume_from_checkpoint=str(run.resumed.folder) if run.resumed else None)
    finally:
        saving.release()
    if saving.stopped:
        raise SystemExit(TRY_AGAIN)
    return _write(cell, run, instructions, folder, zero_stage, saving.spent)


def _prepare(
    cell: Mapping[str, Any],
    model: Path,
    instructions: Path,
    folder: Path,
    fingerprint: str,
    zero_stage: int,
    saving: SaveOnSignal,
) -> _Run:
    settings, base = cell["settings"], checkpoints.read(model).folder
    tokenizer = model_loading.load_tokenizer(base)
    rows, skipped = _rows(tokenizer, instructions, "train", settings)
    if not len(rows):
        raise FinetuneError(
            f"{instructions}: no conversation of split 'train' has a target; left out: {dict(skipped)}."
        )
    order = batches.training_order(len(rows), settings["epochs"], settings["global_batch_size"], cell["seed"])
    lengths = rows.lengths.tolist()
    global_batches = order.reshape(-1, int(settings["global_batch_size"])).tolist()
    steps = [micro_batches.cut(numbers, lengths, settings) for numbers in global_batches]
    transformers.set_seed(int(cell["seed"]))
    # a model that ZeRO stage 3 partitions may be too large for the memory of one rank
    load = sharded_loading.load if zero_stage == 3 else partial(model_loading.load_model, dtype="float32")
    network = load(base, tokenizer, attention=settings["attention"], dropout=float(settings["dropout"]))
    model_loading.check_token_id(network, tokenizer, int(rows.tokens.max()), str(instructions))
    size = ModelSize.of(network)

    self_check = sharded_loading.in_float32(
        network, lambda: _check(network, rows, steps[0][0], settings, tokenizer.eos_token_id)
    )

    def collate(items: Sequence[Mapping[str, int]]) -> dict[str, list[dict[str, torch.Tensor]]]:
        """The micro-batches of one rank in one step. Ranks take the items of the data set in turn."""
        [item] = items
        step, rank = divmod(item["share"], ranks)
        share = micro_batches.share(steps[step], rank, ranks)
        return {"micro_batches": [_tensors(rows, numbers, settings, tokenizer) for numbers in share]}

    engine.set_up_process_group()
    ranks = int(os.environ["WORLD_SIZE"])
    arguments = engine.arguments(cell, folder / "state", zero_stage)
    if zero_stage == 3:
        dtype = getattr(torch, settings["precision"])
        sharded_loading.partition(network, arguments.hf_deepspeed_config.config, dtype, arguments.device)
    trainer = SmoothedTrainer(
        reduction=settings["reduction"],
        seed=cell["seed"],
        state_folder=folder / "state",
        fingerprint=fingerprint,
        model=network,
        args=arguments,
        train_dataset=Dataset.from_dict({"share": range(len(steps) * ranks)}),
        data_collator=collate,
        processing_class=tokenizer,
        callbacks=[Progress(), saving],
    )
    trainer.remove_callback(PrinterCallback)  # Progress prints the same numbers in fewer lines
    # TRL patches the model's forward when it creates the trainer, so the smoothed head must be installed afterwards
    smoothed_head.install(trainer.model, float(cell["beta"]))
    return _Run(trainer, tokenizer, rows, skipped, order, steps, self_check, size, _state_to_resume(trainer))


def _check(
    network: Any, rows: TokenizedRows, numbers: Sequence[int], settings: Mapping[str, Any], pad_token: int
) -> LossCheck:
    """The checks on the first micro-batch. They need whole weights, which DeepSpeed partitions later."""
    result = loss_check.check(network, batches.pad(rows, numbers, pad_token))
    if micro_batches.are_packed(settings):
        packing_check.check(network, rows, numbers)
    return result


def _say_empty(steps: Sequence[Sequence[list[int]]], ranks: int) -> None:
    """Print a sentence if many micro-batches are empty."""
    share = micro_batches.empty_share(steps, ranks)
    if share > MAX_EMPTY:
        print(
            f"{share:.0%} of the micro-batches are empty, because a global batch has fewer of them than {ranks} ranks can"
            f" share equally; a lower {micro_batches.BY_TOKENS} would fill them.",
            flush=True,
        )


def _tensors(
    rows: TokenizedRows, numbers: Sequence[int], settings: Mapping[str, Any], tokenizer: Any
) -> dict[str, torch.Tensor]:
    """One micro-batch: a packed row if the recipe counts tokens, otherwise padded rows."""
    arrange = batches.pack if micro_batches.are_packed(settings) else batches.pad
    return {
        name: torch.from_numpy(array)
        for name, array in arrange(rows, numbers, tokenizer.eos_token_id).items()
    }


def _rows(
    tokenizer: Any, instructions: Path, split: str, settings: Mapping[str, Any]
) -> tuple[TokenizedRows, Counter[str]]:
    table = records.read_conversations(instructions, split)
    conversations = (row["messages"] for batch in table.to_batches() for row in batch.to_pylist())
    return tokenized.tokenize(tokenizer, conversations, settings["chat_template"], settings["max_length"])


def _state_to_resume(trainer: SmoothedTrainer) -> resume_state.State | None:
    """The newest intact state of this run's layout, the same on all ranks, or None.

    Rank 0 also removes what killed runs left: broken states and unfinished weights.
    """
    chosen = None
    if trainer.is_world_process_zero():
        states = resume_state.complete_states(trainer.state_folder, trainer.fingerprint)
        resume_state.prune(trainer.state_folder, trainer.fingerprint, states)
        shutil.rmtree(trainer.state_folder.parent / "weights", ignore_errors=True)
        layout = trainer.layout()
        matching = [state for state in states if layout.items() <= state.note.items()]
        chosen = resume_state.newest_intact(matching)
        if chosen is not None:
            print(f"resumes from step {chosen.step}", flush=True)
        elif matching:
            print("no saved state is intact: the cell starts again", flush=True)
        elif states:
            note = states[-1].note
            print(
                f"state of step {states[-1].step} was made by {note['ranks']} rank(s) at ZeRO stage"
                f" {note['zero_stage']}, this run has {layout['ranks']} at stage {layout['zero_stage']}:"
                " the cell starts again",
                flush=True,
            )
    [chosen] = broadcast_object_list([chosen])
    return chosen


def _write(
    cell: Mapping[str, Any],
    run: _Run,
    instructions: Path,
    folder: Path,
    zero_stage: int,
    saving_seconds: float,
) -> dict[str, Any] | None:
    """Write weights and loss curve. Returns the facts of the manifest on rank 0, and None on other ranks."""
    trainer, settings, weights = run.trainer, cell["settings"], folder / "weights"
    engine_facts = engine.check(trainer, zero_stage, len(run.steps))
    heldout, _ = _rows(run.tokenizer, instructions, "heldout", settings)
    heldout_nll = _heldout_nll(trainer, heldout, settings, run.tokenizer)
    if heldout_nll is not None and not math.isfinite(heldout_nll):
        raise trainer.diverged(["the held-out loss"])
    trainer.save_model(str(weights))
    # a pickle of the Trainer's arguments, which polycal never reads
    (weights / "training_args.bin").unlink(missing_ok=True)
    if trainer.is_world_process_zero():
        for path in checkpoints.parts(weights):
            files.flush(path)
    usage = _usage(trainer)
    if not trainer.is_world_process_zero():
        return None
    curve = [entry for entry in trainer.state.log_history if "nll" in entry]
    _write_curve(folder / "loss.csv", curve)
    return {
        "cell": dict(cell),
        "folder": f"{folder.name}/weights",
        **checkpoints.describe(weights),
        **engine_facts,
        "global_batch_size": settings["global_batch_size"],
        **micro_batches.given(settings),
        "ranks": trainer.args.world_size,
        "conversations": len(run.rows),
        "filled": int((run.order == micro_batches.PADDING_ROW).sum()),
        "skipped": dict(sorted(run.skipped.items())),
        "normalisation": f"{settings['reduction']} over the target tokens of the global batch",
        "loss_backend": backends.backend_of(run.trainer.args.device),
        "float32_library": float32_library.used(),
        "self_check": run.self_check.facts(),
        "targets": int(sum(entry["targets"] for entry in curve)),
        "nll_first": curve[0]["nll"],
        "nll_last": curve[-1]["nll"],
        "heldout_nll": heldout_nll,
        "speed": _speed(run, settings, saving_seconds),
        "resumed_at": run.resumed.step if run.resumed else None,
        "seconds": round(time.monotonic() - trainer.started, 3),
        "usage": usage,
    }


def _speed(run: _Run, settings: Mapping[str, Any], saving_seconds: float) -> dict[str, float | None]:
    """How fast the steps of this run were, without those before it was resumed. The facts are also printed."""
    trainer, rows, ranks = run.trainer, run.rows, run.trainer.args.world_size
    targets = np.add.reduceat(rows.targets.astype(np.int64), rows.starts[:-1])
    steps = run.steps[len(run.steps) - trainer.steps_done :]
    padded = not micro_batches.are_packed(settings)
    done = speed.work(rows.lengths, targets, steps, padded, ranks)
    facts = speed.facts(run.size, done, trainer.step_seconds, saving_seconds, ranks, settings["precision"])
    print(speed.sentence(facts), flush=True)
    return facts


@torch.no_grad()
def _heldout_nll(
    trainer: SmoothedTrainer, rows: TokenizedRows, settings: Mapping[str, Any], tokenizer: Any
) -> float | None:
    """Unsmoothed loss of held-out conversations in nats per target token, or None if there are none."""
    model: Any = trainer.model_wrapped
    model.eval()
    sums = torch.zeros(2, dtype=torch.float64, device=model.device)
    cut = micro_batches.cut(range(len(rows)), rows.lengths.tolist(), settings)
    for numbers in micro_batches.share(cut, trainer.args.process_index, trainer.args.world_size):
        tensors = _tensors(rows, numbers, settings, tokenizer)
        inputs = {name: tensor.to(model.device) for name, tensor in tensors.items()}
        with packed_attention.within(inputs):
            nll = model(**inputs).nll.double()
        sums += torch.stack([nll.sum(), nll.new_tensor(len(nll))])
    total, count = trainer.accelerator.reduce(sums, "sum").tolist()
    return total / count if count else None


def _usage(trainer: SmoothedTrainer) -> dict[str, float]:
    """Resource usage of all ranks: number of GPUs, sum of CPU seconds, largest peak of resident memory in bytes.

    All ranks call this, before any long work that only rank 0 does. Otherwise they would wait for rank 0 and could
    time out.
    """
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu_seconds = sum(u.ru_utime + u.ru_stime for u in (own, children))
    # Linux gives ru_maxrss in KiB
    rank_usage = torch.tensor([[cpu_seconds, own.ru_maxrss * 1024]], dtype=torch.float64)
    ranks: Any = trainer.accelerator.gather(rank_usage.to(trainer.args.device))
    uses_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
    return {
        "gpus": trainer.args.world_size if uses_gpu else 0,
        "cpu_seconds": round(float(ranks[:, 0].sum()), 3),
        "peak_memory_bytes": int(ranks[:, 1].max()),
    }


def _write_curve(path: Path, curve: Sequence[Mapping[str, float]]) -> None:
    with files.replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, CURVE_COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(curve)
