"""The trainer: TRL's SFTTrainer with a predetermined order of rows, the smoothed loss and complete states."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from torch.utils.data import SequentialSampler
from transformers import TrainerCallback
from trl import SFTTrainer

from polycal.progress import ProgressLine
from polycal.training import batches, divergence, packed_attention, resume_state
from polycal.training.blockwise_adamw import BlockwiseAdamW


class SmoothedTrainer(SFTTrainer):
    """SFTTrainer that trains on given micro-batches in the given order, with the loss that the output head computes.

    A batch of the data loader is the share of one rank in one step: ``{"micro_batches": [...]}``. So the number of
    micro-batches may differ between steps, and the Trainer's own accumulation is not used. The loss of a micro-batch
    is the sum over its target tokens, divided by the number of target tokens of the global batch if ``reduction`` is
    ``mean``, and not divided if it is ``sum``. Dropout is seeded for each micro-batch by ``seed``, the step and the
    position of the micro-batch in the global batch.
    """

    def __init__(
        self, *, reduction: str, seed: str, state_folder: Path, fingerprint: str, **options: Any
    ) -> None:
        self.reduction, self.dropout_seed = reduction, seed
        self.state_folder, self.fingerprint = state_folder, fingerprint
        self.started = time.monotonic()
        self.stepping_since: float | None = None
        self.step_seconds, self.steps_done = 0.0, 0
        self.statistics: torch.Tensor | None = None
        super().__init__(**options)

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]

    def _get_num_items_in_batch(self, batch_samples: Any, device: torch.device) -> Any:
        """The number of target tokens of the global batch."""
        micro_batches = [part for sample in batch_samples for part in sample["micro_batches"]]
        return super()._get_num_items_in_batch(micro_batches, device)

    @staticmethod
    def get_optimizer_cls_and_kwargs(*words: Any, **options: Any) -> tuple[Any, Any]:
        """The optimizer of the Trainer, but AdamW in blocks, which gives the same bits in less time."""
        kind, settings = SFTTrainer.get_optimizer_cls_and_kwargs(*words, **options)
        return (BlockwiseAdamW if kind is torch.optim.AdamW else kind), settings

    def floating_point_ops(self, inputs: Any) -> int:
        """Zero, because the Trainer's estimate is not used."""
        return 0

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward pass of all micro-batches of one rank in one step. Returns the sum of their losses.

        DeepSpeed communicates and clips gradients at the last one, which accelerate marks as its boundary.
        """
        self.stepping_since = time.monotonic()
        if self.layout() == {"ranks": 1, "zero_stage": 0}:
            # DeepSpeed would copy all gradients into a buffer and back, to average them over one rank
            model.enable_backward_allreduce = False
        total = None
        for number, micro_batch in enumerate(micro_batches := inputs["micro_batches"]):
            is_last = number + 1 == len(micro_batches)
            self.accelerator.gradient_state._set_sync_gradients(is_last)
            # ranks take the micro-batches of the global batch in turn
            position = number * self.args.world_size + self.args.process_index
            torch.manual_seed(
                batches.stable_seed("dropout", self.dropout_seed, self.state.global_step, position)
            )
            with packed_attention.within(micro_batch):
                loss = super().training_step(model, micro_batch, num_items_in_batch)
            total = loss if total is None else total + loss
        assert total is not None  # each rank has a micro-batch, which may be without targets
        return total

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of one micro-batch. Its statistics are added up for the log."""
        count = 1 if self.reduction == "sum" else max(int(num_items_in_batch), 1)
        # DeepSpeed averages gradients over ranks, and the Trainer averages the logged loss over ranks
        output = model(**inputs, num_items_in_batch=count / self.args.world_size)
        sums = torch.stack(
            [output.nll.double().sum(), output.entropy.double().sum(), output.correct.double().sum()]
        )
        sums = torch.cat([sums.new_tensor([len(output.nll)]), sums])
        self.statistics = sums if self.statistics is None else self.statistics + sums
        return (output.loss, output) if return_outputs else output.loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the unsmoothed loss and the entropy (nats per target token), and the accuracy, of the same pass.

        Raises DivergenceError if the loss, the gradient or the weights are not finite after the step. The Trainer
        logs before it saves, so that such a step is never saved.
        """
        if "loss" in logs and self.statistics is not None:
            targets, nll, entropy, correct = self.accelerator.reduce(self.statistics, "sum").tolist()
            self.statistics = None
            logs |= {
                "targets": targets,
                "nll": nll / targets,
                "entropy": entropy / targets,
                "accuracy": correct / targets,
            }
            self._check_finite(logs)
            if self.stepping_since is not None:
                self.step_seconds += time.monotonic() - self.stepping_since
                self.steps_done += 1
        super().log(logs, start_time)

    def _check_finite(self, logs: Mapping[str, float]) -> None:
        """Raise DivergenceError, on all ranks, if the loss, the gradient or the weights are not finite."""
        engine: Any = self.model_wrapped
        broken = torch.tensor([not divergence.are_finite(engine.parameters())], device=self.args.device)
        anywhere = self.accelerator.reduce(broken.float(), "sum")
        what = divergence.not_finite(logs, getattr(engine, "skipped_steps", 0), not anywhere.item())
        if what:
            raise self.diverged(what)

    def diverged(self, what: Sequence[str]) -> divergence.DivergenceError:
        """The error that says which quantities, ``what``, are not finite in the current step."""
        steps = (self.state.global_step, self.state.max_steps)
        cell = self.state_folder.parent.parent
        return divergence.error(cell, steps, self.args.learning_rate, what, self.state.log_history)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save the state of the Trainer and of DeepSpeed. All ranks write their files, and rank 0 commits the state."""
        wait, is_first = self.accelerator.wait_for_everyone, self.is_world_process_zero()
        step = self.state.global_step
        temporary = resume_state.begin(self.state_folder, step) if is_first else None
        [temporary] = broadcast_object_list([temporary])
        assert temporary is not None
        # DeepSpeed writes the weights too
        self._save_optimizer_and_scheduler(str(temporary))
        self._save_rng_state(str(temporary))
        if is_first:
            self.state.save_to_json(str(temporary / "trainer_state.json"))
        wait()
        if is_first:
            seconds = round(time.monotonic() - self.started, 3)
            state = resume_state.commit(temporary, self.fingerprint, step, seconds=seconds, **self.layout())
            resume_state.prune(self.state_folder, self.fingerprint, [state])
            print(f"state of step {step} saved", flush=True)
        wait()

    def layout(self) -> dict[str, int]:
        """Number of ranks and ZeRO stage, which determine how DeepSpeed partitions a state.

        A run resumes only from a state of its own layout.
        """
        return {"ranks": self.args.world_size, "zero_stage": self.args.hf_deepspeed_config._stage}


class Progress(TrainerCallback):
    """Prints a progress line every few seconds, with the loss and the unsmoothed loss of the last step."""

    line: ProgressLine | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock. A resumed run starts at the step of its state."""
        if state.is_world_process_zero:
            self.line = ProgressLine("training", state.max_steps, "steps", done=state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Count one step. The Trainer's summary at the end is not a step; it has no ``nll``."""
        if self.line is not None and "nll" in (logs or {}):
            steps = state.global_step - self.line.done
            self.line(steps, f", loss {logs['loss']:.4f}, nll {logs['nll']:.4f}")
