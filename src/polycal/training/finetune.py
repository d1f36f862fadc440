"""Fine-tuning of one cell: TRL's trainer with DeepSpeed's engine, and the smoothed loss in the output head.

The order of conversations is written down before training (polycal.batches), so every global batch is what the
recipe says; an epoch's last one is filled with rows that hold no target, which change neither loss nor gradient.
One rank is this process; several are started by polycal.launch, each as ``python -m polycal.finetune JSON``.
Every some minutes, and when a signal asks it to stop, a run saves its state (polycal.state) and the next run of
the same fingerprint goes on from there, to the same bits.
"""

import csv
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import deepspeed
import numpy as np
import torch
import transformers
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from polycal.artifacts import checkpoints, files, records
from polycal.artifacts.manifests import Stamp
from polycal.data import chat_templates
from polycal.errors import PolycalError
from polycal.losses import label_smoothing
from polycal.store.locks import TRY_AGAIN
from polycal.training import batches
from polycal.training import resume_state as states
from polycal.training.batches import Rows

ASKING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""Signals that ask a run to save its state and stop: scancel, Ctrl-C, and a warning before the time limit."""


class FinetuneError(PolycalError):
    """A cell that cannot be trained; the message says what is wrong."""


class SmoothedTrainer(SFTTrainer):
    """SFTTrainer that takes rows in the order given, and whose loss is the head's own.

    The loss of a micro-batch is summed over its targets and divided by those of the global batch (``mean``)
    or not at all (``sum``). Dropout is seeded for each micro-batch by seed, step and place in the global batch.
    """

    reduction = "mean"
    seed = "0"
    states = Path()
    fingerprint = ""
    begun = 0.0
    place = 0
    at = -1
    seen: torch.Tensor | None = None

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """One micro-batch, forward and backward."""
        self.place = self.place + 1 if self.at == self.state.global_step else 0
        self.at = self.state.global_step
        # accelerate deals the micro-batches of a global batch out to the ranks in turn
        place = self.place * self.args.world_size + self.args.process_index
        torch.manual_seed(batches.draw("dropout", self.seed, self.at, place))
        return super().training_step(model, inputs, num_items_in_batch)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of one micro-batch, and its statistics for the log."""
        count = 1 if self.reduction == "sum" else max(int(num_items_in_batch), 1)
        # DeepSpeed takes the mean over ranks, and so does the log
        found = model(**inputs, num_items_in_batch=count / self.args.world_size)
        one = torch.stack(
            [found.nll.double().sum(), found.entropy.double().sum(), found.correct.double().sum()]
        )
        one = torch.cat([one.new_tensor([len(found.nll)]), one])
        self.seen = one if self.seen is None else self.seen + one
        return (found.loss, found) if return_outputs else found.loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the unsmoothed loss and entropy (nats) and the accuracy a target, of the same pass."""
        if "loss" in logs and self.seen is not None:
            targets, nll, entropy, correct = self.accelerator.reduce(self.seen, "sum").tolist()
            self.seen = None
            logs |= {
                "targets": targets,
                "nll": nll / targets,
                "entropy": entropy / targets,
                "accuracy": correct / targets,
            }
        super().log(logs, start_time)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Trainer and DeepSpeed state: written aside by all ranks, made whole by the first."""
        wait, first, step = (
            self.accelerator.wait_for_everyone,
            self.is_world_process_zero(),
            self.state.global_step,
        )
        place = states.aside(self.states, step) if first else None
        [place] = broadcast_object_list([place])
        assert place is not None
        # the weights are in DeepSpeed's part
        self._save_optimizer_and_scheduler(str(place))
        self._save_rng_state(str(place))
        if first:
            self.state.save_to_json(str(place / "trainer_state.json"))
        wait()
        if first:
            seconds = round(time.monotonic() - self.begun, 3)
            made = states.seal(place, self.fingerprint, step, seconds=seconds, **self.shape())
            states.prune(self.states, self.fingerprint, [made])
            print(f"state of step {step} saved", flush=True)
        wait()

    def shape(self) -> dict[str, int]:
        """What a state fits beside its fingerprint: DeepSpeed cuts it by ranks and ZeRO stage."""
        return {"ranks": self.args.world_size, "zero_stage": self.args.hf_deepspeed_config._stage}


class Saving(TrainerCallback):
    """Saves every ``seconds``; on SIGTERM, SIGINT or SIGUSR1 saves at the step's end and stops.

    All ranks decide alike, also where the signal reached only one of them.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self.last = seconds, time.monotonic()
        self.asked = self.stopped = False
        self.before = {number: signal.signal(number, self._ask) for number in ASKING}

    def release(self) -> None:
        """Give the signals back to whoever had them."""
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _ask(self, *_: Any) -> None:
        self.asked = True

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        self.last = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask for a save where one is due."""
        now = time.monotonic()
        wanted = [self.asked, state.is_world_process_zero and now - self.last >= self.seconds]
        if args.world_size > 1:
            told = torch.tensor(wanted, dtype=torch.int32, device=args.device)
            torch.distributed.all_reduce(told, torch.distributed.ReduceOp.MAX)
            wanted = [bool(flag) for flag in told.tolist()]
        if any(wanted):
            control.should_save, self.last = True, now
        if wanted[0]:
            control.should_training_stop = self.stopped = True


class Progress(TrainerCallback):
    """A line every five seconds: steps done, rate, loss and time left."""

    begun = last = 0.0
    first = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        self.begun = self.last = time.monotonic()
        self.first = state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Say how far it is."""
        now = time.monotonic()
        if not state.is_world_process_zero or "nll" not in (logs or {}):
            return
        if now - self.last >= 5 or state.global_step == state.max_steps:
            self.last, done = now, state.global_step
            pace = (done - self.first) / max(now - self.begun, 1e-9)
            left = (state.max_steps - done) / pace
            print(
                f"{done}/{state.max_steps} steps, {pace:.2f}/s, loss {logs['loss']:.4f}, nll {logs['nll']:.4f},"
                f" {left:.0f} s left",
                flush=True,
            )


def finetune(
    cell: Mapping[str, Any],
    *,
    model: Path,
    instructions: Path,
    out: Path,
    stamp: Stamp,
    zero_stage: int,
    threads: int = 1,
    save_minutes: float = 10.0,
) -> None:
    """Train one cell and write its manifest to ``out``; weights and loss curve lie beside it.

    State is saved every ``save_minutes``; a run that a signal stopped saves it and raises SystemExit with
    ``lock.TRY_AGAIN``. Raises ChatError, RecordError, CheckpointError or BatchError for what it reads and
    FinetuneError where nothing is left to train on, all before training.
    """
    begun, settings = time.monotonic(), cell["settings"]
    torch.set_num_threads(threads)
    saving = Saving(60 * save_minutes)
    checkpoint = checkpoints.read(model)
    tokenizer = AutoTokenizer.from_pretrained(
        checkpoint.folder, local_files_only=True, trust_remote_code=False
    )
    rows, skipped = _rows(tokenizer, instructions, "train", settings)
    if not len(rows):
        raise FinetuneError(
            f"{instructions}: no conversation of split 'train' has a target; left out: {dict(skipped)}."
        )
    order = batches.order(len(rows), settings["epochs"], settings["global_batch_size"], cell["seed"])
    folder = out.parent / stamp.fingerprint[:12]
    transformers.set_seed(int(cell["seed"]))
    trainer = _trainer(cell, checkpoint.folder, tokenizer, rows, order, folder / "state", zero_stage)
    trainer.add_callback(saving)
    trainer.states, trainer.fingerprint = folder / "state", stamp.fingerprint
    resumed = _resumable(trainer)
    trainer.begun = begun - (resumed.note["seconds"] if resumed else 0)
    try:
        trainer.train(resume_from_checkpoint=str(resumed.folder) if resumed else None)
    finally:
        saving.release()
    if saving.stopped:
        raise SystemExit(TRY_AGAIN)

    steps = len(order) // settings["global_batch_size"]
    facts = _engine(trainer, zero_stage, steps)
    trainer.save_model(str(folder / "weights"))
    # the trainer's arguments, a pickle that nothing here reads
    (folder / "weights" / "training_args.bin").unlink(missing_ok=True)
    heldout, _ = _rows(tokenizer, instructions, "heldout", settings)
    heldout_nll = _heldout_nll(trainer, heldout, settings["micro_batch_size"], tokenizer.eos_token_id)
    if not trainer.is_world_process_zero():
        return
    curve = [entry for entry in trainer.state.log_history if "nll" in entry]
    _write_curve(folder / "loss.csv", curve)
    files.write_json(
        out,
        {
            **stamp(),
            "cell": dict(cell),
            "folder": f"{folder.name}/weights",
            **checkpoints.describe(folder / "weights"),
            **facts,
            "global_batch_size": settings["global_batch_size"],
            "micro_batch_size": settings["micro_batch_size"],
            "ranks": trainer.args.world_size,
            "conversations": len(rows),
            "filled": int((order == batches.NO_ROW).sum()),
            "skipped": dict(sorted(skipped.items())),
            "normalisation": f"{settings['reduction']} over the target tokens of the global batch",
            "loss_backend": label_smoothing.BACKEND,
            "targets": int(sum(entry["targets"] for entry in curve)),
            "nll_first": curve[0]["nll"],
            "nll_last": curve[-1]["nll"],
            "heldout_nll": heldout_nll,
            "resumed_at": resumed.step if resumed else None,
            "seconds": round(time.monotonic() - trainer.begun, 3),
        },
    )
    # a kill before this line finds manifest or state
    shutil.rmtree(folder / "state", ignore_errors=True)


def _resumable(trainer: SmoothedTrainer) -> states.State | None:
    """The newest state that this run can go on from, the same on all ranks; leftovers of kills are removed."""
    chosen = None
    if trainer.is_world_process_zero():
        own = states.found(trainer.states, trainer.fingerprint)
        states.prune(trainer.states, trainer.fingerprint, own)
        shutil.rmtree(trainer.states.parent / "weights", ignore_errors=True)
        fitting = [one for one in own if trainer.shape().items() <= one.note.items()]
        if fitting:
            chosen = fitting[-1]
            print(f"goes on from step {chosen.step}", flush=True)
        elif own:
            was, now = own[-1].note, trainer.shape()
            print(
                f"state of step {own[-1].step} was made by {was['ranks']} rank(s) at ZeRO stage {was['zero_stage']},"
                f" this run has {now['ranks']} at stage {now['zero_stage']}: the cell starts again",
                flush=True,
            )
    [told] = broadcast_object_list([chosen])
    return told


def _rows(tokenizer: Any, instructions: Path, split: str, settings: Mapping[str, Any]) -> tuple[Rows, Any]:
    table = records.read_conversations(instructions, split)
    conversations = (row["messages"] for batch in table.to_batches() for row in batch.to_pylist())
    return chat_templates.tokenize(
        tokenizer, conversations, settings["chat_template"], settings["max_length"]
    )


def _trainer(
    cell: Mapping[str, Any],
    folder: Path,
    tokenizer: Any,
    rows: Rows,
    order: np.ndarray,
    state: Path,
    zero_stage: int,
) -> SmoothedTrainer:
    settings = cell["settings"]
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        attn_implementation=settings["attention"],
        attention_dropout=float(settings["dropout"]),
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
    )

    def collate(items: Sequence[Mapping[str, int]]) -> dict[str, torch.Tensor]:
        padded = batches.pad(rows, [item["row"] for item in items], tokenizer.eos_token_id)
        return {name: torch.from_numpy(array) for name, array in padded.items()}

    _meet()
    trainer = SmoothedTrainer(
        model=model,
        args=_arguments(cell, state, zero_stage),
        train_dataset=Dataset.from_dict({"row": order}),
        data_collator=collate,
        processing_class=tokenizer,
        callbacks=[Progress()],
    )
    trainer.remove_callback(PrinterCallback)  # Progress says the same in fewer lines
    # TRL patches the model's forward when the trainer is made, so the head's own comes after
    label_smoothing.install(trainer.model, float(cell["beta"]))
    trainer.reduction, trainer.seed = settings["reduction"], cell["seed"]
    return trainer


def _arguments(cell: Mapping[str, Any], state: Path, zero_stage: int) -> SFTConfig:
    settings = cell["settings"]
    ranks = int(os.environ["WORLD_SIZE"])
    zero: dict[str, Any] = {"stage": zero_stage}
    if zero_stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    return SFTConfig(
        output_dir=str(state),
        per_device_train_batch_size=settings["micro_batch_size"],
        gradient_accumulation_steps=batches.settings_split(settings, ranks).accumulation,
        # all epochs stand in the order, one after the other
        num_train_epochs=1,
        learning_rate=float(cell["lr"]),
        lr_scheduler_type="linear",
        warmup_steps=float(settings["warmup_ratio"]),  # below one it is a share of all steps
        weight_decay=float(settings["weight_decay"]),
        max_grad_norm=float(settings["max_grad_norm"]),
        optim="adamw_torch",
        bf16=settings["precision"] == "bfloat16",
        use_cpu=not torch.cuda.is_available(),
        ddp_backend="gloo" if ranks > 1 and not torch.cuda.is_available() else None,
        gradient_checkpointing=settings["gradient_checkpointing"],
        max_length=None,
        seed=int(cell["seed"]),
        save_strategy="no",
        report_to="none",
        logging_steps=1,
        disable_tqdm=True,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        deepspeed={
            "zero_optimization": zero,
            "train_micro_batch_size_per_gpu": "auto",
            "gradient_accumulation_steps": "auto",
            "gradient_clipping": float(settings["max_grad_norm"]),
            "zero_allow_untested_optimizer": True,
            "bf16": {"enabled": "auto"},
            "steps_per_print": 10**9,
        },
    )


def _meet() -> None:
    """Say that this is the only rank unless a launcher said otherwise: DeepSpeed asks for MPI if nobody does.

    DeepSpeed's operator for ranks that share memory is not compiled (a minute and a half); gloo does as well.
    """
    if "WORLD_SIZE" not in os.environ:
        alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
        # port 0 is one that the system finds free
        os.environ.update(alone | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"})
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def _engine(trainer: SmoothedTrainer, zero_stage: int, steps: int) -> dict[str, Any]:
    """What drove the training; raises FinetuneError unless it was DeepSpeed, at that stage, every step."""
    engine: Any = trainer.model_wrapped
    if not isinstance(engine, deepspeed.DeepSpeedEngine):
        raise FinetuneError(f"{type(engine).__name__} drove the training, but it has to be DeepSpeedEngine.")
    stage = int(engine.zero_optimization_stage())
    if (stage, int(engine.global_steps), trainer.state.global_step) != (zero_stage, steps, steps):
        raise FinetuneError(
            f"DeepSpeed took {engine.global_steps} steps at ZeRO stage {stage}, but {steps} at stage {zero_stage} were due."
        )
    vocabulary = engine.module.get_output_embeddings().out_features
    return {
        "engine": type(engine).__name__,
        "zero_stage": stage,
        "steps": steps,
        "vocabulary": vocabulary,
    }


@torch.no_grad()
def _heldout_nll(trainer: SmoothedTrainer, rows: Rows, micro: int, filler: int) -> float | None:
    """Unsmoothed loss a target of the conversations held out, in nats; None where there are none."""
    model: Any = trainer.model_wrapped
    model.eval()
    sums = torch.zeros(2, dtype=torch.float64, device=model.device)
    for numbers in batches.held_out(rows, micro, trainer.args.process_index, trainer.args.world_size):
        padded = batches.pad(rows, numbers, filler)
        given = {name: torch.from_numpy(array).to(model.device) for name, array in padded.items()}
        nll = model(**given).nll.double()
        sums += torch.stack([nll.sum(), nll.new_tensor(len(nll))])
    total, count = trainer.accelerator.reduce(sums, "sum").tolist()
    return total / count if count else None


def _write_curve(path: Path, curve: Sequence[Mapping[str, float]]) -> None:
    names = ["step", "loss", "nll", "entropy", "accuracy", "targets", "learning_rate", "grad_norm"]
    aside = path.with_name(f".{path.name}.part")
    with aside.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(curve)
    os.replace(aside, path)


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    finetune(**{**told, **{name: Path(told[name]) for name in ("model", "instructions", "out")}})
    torch.distributed.destroy_process_group()
