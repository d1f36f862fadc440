"""What a GPU does: the loss against other implementations, a training step, and scoring. At most eight minutes.

    make bench-gpu
    python benchmarks/gpu.py [--parts loss step scoring] [--minutes 8] [--small] [--csv FILE]

It needs PyTorch and transformers, and pyarrow for scoring; polycal need not be installed. Other implementations of the loss that are not installed or do not run are
named and left out (``benchmarks/gpu.txt`` lists them). Each figure is printed as soon as it is measured. Models come
from configurations with random weights, so nothing is downloaded.

- loss: time and memory of loss and gradients, time of compilation, and errors against float64
- step: a training step of a model of the 1B class on conversations as long as Alpaca's, in tokens per second and as a
  share of the peak, with one conversation per micro-batch, with padded ones, and by tokens
- scoring: questions per second of the same model in bfloat16, letters and texts, and how much its log-likelihoods
  differ from float32

With ``--small``, and without a GPU, all sizes are tiny and the loss's kernel runs in Triton's interpreter. That tests
the script. Its times then mean nothing, and are not written to the csv file.
"""

import argparse
import importlib.metadata
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

CUDA = torch.cuda.is_available()
if not CUDA:
    # Triton reads this when it is imported.
    os.environ["TRITON_INTERPRET"] = "1"
# polycal need not be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import gpu_loss  # noqa: E402
import gpu_model  # noqa: E402

import results  # noqa: E402

PARTS: Mapping[str, Callable[..., None]] = {
    "loss": gpu_loss.run,
    "step": gpu_model.run_step,
    "scoring": gpu_model.run_scoring,
}
VERSIONS = ("torch", "triton", "transformers", "trl", "liger-kernel", "cut-cross-entropy")


class Report:
    """Prints figures as they come, appends them to a csv file, and knows when the time is over."""

    def __init__(self, file: Path | None, minutes: float) -> None:
        self._file, self._end = file, time.monotonic() + 60 * minutes
        self._begun = time.monotonic()
        self._versions = tuple(name for name in VERSIONS if _is_installed(name))

    def add(self, part: str, case: str, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            print(f"{time.monotonic() - self._begun:5.0f} s  {part:<8}  {case:<42}  {name:<42}  {value:.5g}")
        sys.stdout.flush()
        results.append(self._file, f"gpu {part}", case, figures, self._versions)

    def skip(self, what: str, why: object) -> None:
        lines = str(why).strip().splitlines() or [type(why).__name__]
        print(f"{time.monotonic() - self._begun:5.0f} s  left out: {what}: {lines[0][:200]}", flush=True)

    def time_is_over(self, what: str) -> bool:
        """Whether ``what`` must be left out, because no time is left; this is printed."""
        if time.monotonic() < self._end:
            return False
        self.skip(what, "the time is over")
        return True


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--small", action="store_true", help="tiny sizes, which test the script")
    parser.add_argument("--csv", type=Path, help="append the figures to this file")
    arguments = parser.parse_args()
    small = arguments.small or not CUDA
    device = torch.device("cuda" if CUDA else "cpu")
    print(f"{results.machine()}, torch {torch.__version__}{', tiny sizes' if small else ''}", flush=True)
    report = Report(None if small else arguments.csv, arguments.minutes)
    for part in arguments.parts:
        if not report.time_is_over(part):
            PARTS[part](report, device, small)


if __name__ == "__main__":
    main()
