"""One line of progress for long loops: work done, rate and time left. It is printed to standard error."""

import sys
import time

INTERVAL_SECONDS = 5.0
"""Shortest time between two lines."""


class ProgressLine:
    """Prints ``name: done/total unit, rate/s, seconds left`` every ``INTERVAL_SECONDS`` and at the end."""

    def __init__(self, name: str, total: int, unit: str = "tokens", done: int = 0) -> None:
        """``total`` is the amount of work, measured in ``unit``. An earlier run has finished ``done`` of it.

        Nothing is printed if ``name`` is empty.
        """
        self.name, self.total, self.unit, self.done, self.initial = name, total, unit, done, done
        self.start = self.last = time.monotonic()

    def __call__(self, amount: int, note: str = "") -> None:
        """Add ``amount`` finished units of work. ``note`` is appended to the line."""
        self.done += amount
        now = time.monotonic()
        if self.name and (now - self.last >= INTERVAL_SECONDS or self.done == self.total):
            self.last = now
            rate = (self.done - self.initial) / max(now - self.start, 1e-9)
            left = (self.total - self.done) / max(rate, 1e-9)
            print(
                f"{self.name}: {self.done}/{self.total} {self.unit}, {rate:.{0 if rate >= 10 else 2}f}/s,"
                f" {left:.0f} s left{note}",
                file=sys.stderr,
                flush=True,
            )
