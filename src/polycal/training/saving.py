"""When the state of a training is saved: at intervals, and on a signal."""

import signal
import time
from typing import Any

import torch
from transformers import TrainerCallback

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""Signals on which a run saves its state and stops: scancel, Ctrl-C, and Slurm's warning before the time limit."""
MAX_SHARE = 0.03
"""Largest share of the time that is spent on saving at intervals of SHORTEST or more."""
SHORTEST = 60.0
"""Shorter intervals, in seconds, are kept as they are asked for."""
WARNING = 300.0
"""Seconds between Slurm's warning and the time limit in ``profiles/slurm``."""


class SaveOnSignal(TrainerCallback):
    """Saves the state every ``seconds``, and on SIGTERM, SIGINT or SIGUSR1.

    The interval becomes longer if saving would take more than MAX_SHARE of the time. A sentence is printed if a step
    and a save take longer than the WARNING before a time limit. After a signal the run finishes its step, saves its
    state and stops; ``stopped`` is then true. All ranks take the same decision, even if the signal reached only one
    of them. Signal handlers are installed on creation, so that a signal during preparation is not lost.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self.last_save, self.last_step = seconds, time.monotonic(), time.monotonic()
        self.longest_step = self.longest_save = self.spent = 0.0
        self.received = self.stopped = self.warned = False
        self.previous_handlers = {number: signal.signal(number, self._receive) for number in STOP_SIGNALS}

    def release(self) -> None:
        """Restore the previous signal handlers."""
        for number, handler in self.previous_handlers.items():
            signal.signal(number, handler)

    def _receive(self, *_: Any) -> None:
        self.received = True

    @property
    def interval(self) -> float:
        """Seconds between the beginnings of two saves."""
        return self.seconds if self.seconds < SHORTEST else max(self.seconds, self.longest_save / MAX_SHARE)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock for the first save."""
        self.last_save = self.last_step = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Request a save if one is due, and a stop if a signal was received."""
        now = time.monotonic()
        self.longest_step, self.last_step = max(self.longest_step, now - self.last_step), now
        flags = [self.received, state.is_world_process_zero and now - self.last_save >= self.interval]
        if args.world_size > 1:
            shared = torch.tensor(flags, dtype=torch.int32, device=args.device)
            torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX)
            flags = [bool(flag) for flag in shared.tolist()]
        if any(flags):
            control.should_save, self.last_save = True, now
        if flags[0]:
            control.should_training_stop = self.stopped = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure the save, and say once if the warning before a time limit is too short for it."""
        self.last_step = time.monotonic()
        took = self.last_step - self.last_save
        self.spent, self.longest_save = self.spent + took, max(self.longest_save, took)
        needed = self.longest_step + self.longest_save
        if needed > WARNING and not self.warned and state.is_world_process_zero:
            self.warned = True
            print(
                f"a step and a save take up to {needed:.0f} s, but Slurm warns {WARNING:.0f} s before the time limit;"
                f" set slurm_extra in profiles/slurm to --signal=TERM@{2 * needed:.0f}, or work since the last save may"
                " be lost.",
                flush=True,
            )
