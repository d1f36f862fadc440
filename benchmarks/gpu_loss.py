"""The loss on a GPU: time, memory and errors of several implementations on the same hidden states and weight."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

BETA = 0.1
ROUNDS = 5


@dataclass(frozen=True)
class Case:
    """A vocabulary V, a width D, a soft-cap or none, and numbers of tokens to time and to compare with float64."""

    vocabulary: int
    width: int
    softcap: float | None
    tokens: int = 4096
    compared: int = 512

    @property
    def name(self) -> str:
        cap = f" soft-cap {self.softcap:.0f}" if self.softcap else ""
        return f"V={self.vocabulary} D={self.width}{cap} {self.tokens} tokens"


CASES = (
    Case(32_000, 4_096, None),
    Case(128_256, 4_096, None),
    Case(256_000, 2_304, 30.0),
    Case(262_144, 640, None),
)
SMALL = (Case(1_003, 32, 30.0, tokens=32, compared=32),)

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""The mean loss of hidden states [N, D], W [V, D] and labels [N]."""


def run(report: Any, device: torch.device, small: bool) -> None:
    """Measure each case. A side that fails is left out."""
    if device.type == "cpu":
        _use_interpreter()
    for case in SMALL if small else CASES:
        if report.time_is_over(case.name):
            return
        hidden, weight, labels = _inputs(case, device)
        sides, missing = _sides(case)
        for name, reason in missing.items():
            report.skip(f"{case.name}: {name}", reason)
        products = _Products(case, hidden, weight)
        steps = {"products": products.step}
        for name, loss in sides.items():
            step = _step(loss, hidden, weight, labels)
            try:
                begun = time.perf_counter()
                step()
                first = _seconds_since(begun, device)
                report.add("loss", case.name, {f"{name}, first call s": first})
                steps[name] = step
                report.add("loss", case.name, _errors(name, loss, case, device))
            except Exception as error:  # whatever a peer raises, the others are still measured
                steps.pop(name, None)
                report.skip(f"{case.name}: {name}", error)
        seconds, growth = _measured(steps, device, 1 if small else ROUNDS)
        for name in steps:
            figures = {f"{name}, ms": 1e3 * seconds[name]}
            figures[f"{name}, TFLOP/s"] = 6e-12 * case.tokens * case.vocabulary * case.width / seconds[name]
            if name != "products":
                figures[f"{name}, share of the products' speed"] = seconds["products"] / seconds[name]
                figures[f"{name}, growth MiB"] = growth[name]
            report.add("loss", case.name, figures)


def _use_interpreter() -> None:
    """Use the fused loss on the CPU, too."""
    from polycal.losses import backends, row_pass

    backends.backend_of = lambda device: backends.FUSED  # type: ignore[assignment]
    row_pass.TOKENS = 32


def _inputs(case: Case, device: torch.device, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states and W in bfloat16 with logits of a standard deviation of 3, and random labels."""
    generator = torch.Generator(device).manual_seed(seed)
    hidden = torch.randn(case.tokens, case.width, generator=generator, device=device)
    weight = torch.randn(case.vocabulary, case.width, generator=generator, device=device)
    weight *= 3 * case.width**-0.5
    labels = torch.randint(0, case.vocabulary, (case.tokens,), generator=generator, device=device)
    return hidden.bfloat16(), weight.bfloat16(), labels


def _sides(case: Case) -> tuple[dict[str, Loss], dict[str, object]]:
    """The implementations by name, and why others cannot be imported."""
    from polycal.losses import smoothed_cross_entropy

    def own(beta: float) -> Loss:
        return lambda h, w, y: smoothed_cross_entropy(h, w, y, beta, softcap=case.softcap)

    sides = {f"own β={BETA}": own(BETA), "own β=0": own(0.0), f"PyTorch β={BETA}": _full_logits(case, BETA)}
    missing: dict[str, object] = {}
    for add in (_liger, _cce, _trl):
        try:
            sides |= add(case)
        except Exception as reason:  # some fail at import without a GPU
            missing[add.__name__.strip("_")] = reason
    return sides, missing


def _full_logits(case: Case, beta: float) -> Loss:
    """A plain head: logits in bfloat16, and the loss in float32."""

    def loss(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        z = (hidden @ weight.T).float()
        z = z if case.softcap is None else case.softcap * torch.tanh(z / case.softcap)
        return torch.nn.functional.cross_entropy(z, labels, label_smoothing=beta)

    return loss


def _liger(case: Case) -> dict[str, Loss]:
    from liger_kernel.transformers.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyLoss

    def side(beta: float, dtype: torch.dtype | None) -> Loss:
        module = LigerFusedLinearCrossEntropyLoss(
            label_smoothing=beta, softcap=case.softcap, accum_dtype=dtype
        )
        return lambda h, w, y: module(w, h, y)

    return {
        f"Liger β={BETA}": side(BETA, None),
        f"Liger β={BETA}, float32 sums": side(BETA, torch.float32),
    }


def _cce(case: Case) -> dict[str, Loss]:
    from cut_cross_entropy import linear_cross_entropy

    # without its filter of small gradients
    return {
        "CCE β=0": lambda h, w, y: linear_cross_entropy(
            h, w, y, softcap=case.softcap, filter_eps=None, impl="cce"
        )
    }


def _trl(case: Case) -> dict[str, Loss]:
    from trl.kernels import ChunkedLogProbFunction

    def loss(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        logprob, *_ = ChunkedLogProbFunction.apply(
            hidden, weight, None, labels, 1.0, 2**14, case.softcap, 1.0, ()
        )
        return -logprob.mean()

    return {"TRL β=0": loss}


def _step(loss: Loss, hidden: Tensor, weight: Tensor, labels: Tensor) -> Callable[[], object]:
    """A function that computes the loss and its gradients in hidden states and weight."""
    h, w = hidden.detach().requires_grad_(), weight.detach().requires_grad_()

    def step() -> object:
        value = loss(h, w, labels)
        return value, *torch.autograd.grad(value, (h, w))

    return step


class _Products:
    """The three products of loss and gradients alone, in bfloat16 with bfloat16 results, in as few blocks as fit."""

    def __init__(self, case: Case, hidden: Tensor, weight: Tensor) -> None:
        free = torch.cuda.mem_get_info()[0] if hidden.is_cuda else 2**32
        rows = case.tokens
        while 2 * rows * case.vocabulary > free // 4:
            rows = -(-rows // 2)
        self._hidden, self._weight = hidden, weight
        self._starts = range(0, case.tokens, rows)
        self._logits = torch.empty(rows, case.vocabulary, dtype=hidden.dtype, device=hidden.device)

    def step(self) -> None:
        for start in self._starts:
            hidden = self._hidden[start : start + len(self._logits)]
            logits = torch.mm(hidden, self._weight.T, out=self._logits[: len(hidden)])
            torch.mm(logits, self._weight)
            torch.mm(logits.T, hidden)


def _errors(name: str, loss: Loss, case: Case, device: torch.device) -> dict[str, float]:
    """Relative errors of loss and gradients against float64, for the first tokens."""
    hidden, weight, labels = _inputs(case, device)
    hidden, labels = hidden[: case.compared], labels[: case.compared]
    beta = 0.0 if name.endswith("β=0") else BETA
    exact = _float64(case, hidden, weight, labels, beta)
    actual = _step(loss, hidden, weight, labels)()
    return {
        f"{name}, error of {what}": float(
            (one.double() - other).norm() / other.norm()  # type: ignore[union-attr]
        )
        for what, one, other in zip(("loss", "hidden states", "W"), actual, exact, strict=True)  # type: ignore[call-overload]
    }


def _float64(
    case: Case, hidden: Tensor, weight: Tensor, labels: Tensor, beta: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss and gradients in float64, from the logits of a few tokens at a time."""
    weight64 = weight.double()
    loss, grad_hidden = torch.zeros((), dtype=torch.float64, device=hidden.device), []
    grad_weight = torch.zeros_like(weight64)
    for start in range(0, len(hidden), 64):
        h = hidden[start : start + 64].double().requires_grad_()
        w = weight64.detach().requires_grad_()
        z = h @ w.T
        z = z if case.softcap is None else case.softcap * torch.tanh(z / case.softcap)
        part = torch.nn.functional.cross_entropy(
            z, labels[start : start + 64], label_smoothing=beta, reduction="sum"
        ) / len(hidden)
        grads = torch.autograd.grad(part, (h, w))
        loss += part.detach()
        grad_hidden.append(grads[0])
        grad_weight += grads[1]
    return loss, torch.cat(grad_hidden), grad_weight


def _measured(
    steps: dict[str, Callable[[], object]], device: torch.device, rounds: int
) -> tuple[dict[str, float], dict[str, float]]:
    """The median seconds of each step, and the MiB by which it raises the allocated memory. Sides take turns."""
    spent: dict[str, list[float]] = {name: [] for name in steps}
    growth = dict.fromkeys(steps, 0.0)
    for number in range(rounds):
        for name in list(steps)[:: 1 if number % 2 else -1]:
            before = 0
            if device.type == "cuda":
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
            begun = time.perf_counter()
            steps[name]()
            spent[name].append(_seconds_since(begun, device))
            if device.type == "cuda":
                growth[name] = (torch.cuda.max_memory_allocated() - before) / 2**20
    return {name: statistics.median(values) for name, values in spent.items()}, growth


def _seconds_since(begun: float, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun
