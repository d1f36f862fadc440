"""The configuration of the Trainer and of DeepSpeed, and the check that DeepSpeed did the training."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import deepspeed
import torch
from trl import SFTConfig

from polycal.errors import PolycalError

LR_SCHEDULER = "linear"
"""Learning rate after the warm-up: linear decay to zero (transformers' name of the schedule)."""


class EngineError(PolycalError):
    """DeepSpeed did not do the training, or not as configured."""


def set_up_process_group() -> None:
    """Declare this process the only rank, unless a launcher set WORLD_SIZE.

    Without these variables DeepSpeed would look for MPI. DeepSpeed's operator for communication through shared
    memory is disabled, because gloo does the same and compiling the operator takes a minute and a half.
    """
    if "WORLD_SIZE" not in os.environ:
        # port 0: the system chooses a free port
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
        os.environ.update({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"} | address)
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def arguments(cell: Mapping[str, Any], state_folder: Path, zero_stage: int) -> SFTConfig:
    """The arguments of the Trainer for one cell, including DeepSpeed's configuration.

    ``set_up_process_group`` must have been called.
    """
    settings = cell["settings"]
    ranks = int(os.environ["WORLD_SIZE"])
    return SFTConfig(
        output_dir=str(state_folder),
        # a batch is the share of a rank in one step, with all its micro-batches
        per_device_train_batch_size=1,
        gradient_accumulation_steps=1,
        # the training order already contains all epochs
        num_train_epochs=1,
        learning_rate=float(cell["lr"]),
        lr_scheduler_type=LR_SCHEDULER,
        # transformers takes a value below 1 as a share of all steps
        warmup_steps=float(settings["warmup_ratio"]),
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
        # a loss that is not finite would otherwise be logged as 0, or as the loss before it
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        deepspeed=_deepspeed(float(settings["max_grad_norm"]), zero_stage),
    )


def _deepspeed(max_grad_norm: float, zero_stage: int) -> dict[str, Any]:
    zero: dict[str, Any] = {"stage": zero_stage}
    if zero_stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    return {
        "zero_optimization": zero,
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": max_grad_norm,
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": "auto"},
        # so large that DeepSpeed never prints its own progress
        "steps_per_print": 10**9,
    }


def check(trainer: Any, zero_stage: int, steps: int) -> dict[str, Any]:
    """Facts about the engine that trained: ``engine``, ``zero_stage``, ``steps``, ``vocabulary``.

    ``vocabulary`` is the number of outputs of the model's head. Raises EngineError unless DeepSpeed took all
    ``steps`` at ``zero_stage``.
    """
    engine: Any = trainer.model_wrapped
    if not isinstance(engine, deepspeed.DeepSpeedEngine):
        raise EngineError(f"{type(engine).__name__} did the training, but it must be DeepSpeedEngine.")
    stage = int(engine.zero_optimization_stage())
    if (stage, int(engine.global_steps), trainer.state.global_step) != (zero_stage, steps, steps):
        raise EngineError(
            f"DeepSpeed took {engine.global_steps} steps at ZeRO stage {stage}, but it must take {steps} at stage"
            f" {zero_stage}."
        )
    vocabulary = engine.module.get_output_embeddings().out_features
    return {
        "engine": type(engine).__name__,
        "zero_stage": stage,
        "steps": steps,
        "vocabulary": vocabulary,
    }
