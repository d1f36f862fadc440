"""Shares of a GPU's peak that ``make bench-gpu`` measured. A plan uses them where no job is finished."""

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from polycal.errors import PolycalError
from polycal.study.config_catalogues import Protocol, Recipe

FILE = Path("benchmarks/gpu.csv")
"""The file that ``make bench-gpu`` writes."""
COLUMNS = {"benchmark", "case", "quantity", "value", "machine", "versions", "date"}
SHARE = "share of peak"
GPU = re.compile(r", \d+ cores, (.+)$")
"""The end of a machine's name, if it has a GPU."""
CASE = re.compile(r"(?P<kind>by tokens, |padded by |micro_batch )(?P<size>\d+)")
"""A way to cut a global batch: the largest number of tokens of a micro-batch, or its number of conversations."""


class GpuBenchmarkError(PolycalError):
    """The file of measured shares is broken."""


@dataclass(frozen=True)
class Share:
    """A share of the peak above 0 and at most 1, and where it comes from."""

    value: float
    origin: str


@dataclass(frozen=True)
class MeasuredShares:
    """The shares of one card: of training by tokens or conversations per micro-batch, of scoring by candidates."""

    tokens: Mapping[int, Share] = field(default_factory=dict)
    conversations: Mapping[int, Share] = field(default_factory=dict)
    candidates: Mapping[str, Share] = field(default_factory=dict)

    def of_training(self, recipe: Recipe) -> Share | None:
        """The share for the micro-batches of a recipe, or for the largest measured ones that are smaller."""
        by_tokens = recipe.tokens_per_micro_batch is not None
        measured = self.tokens if by_tokens else self.conversations
        largest = recipe.tokens_per_micro_batch or recipe.micro_batch_size or 1
        size = max((size for size in measured if size <= largest), default=None)
        return None if size is None else measured[size]

    def of_scoring(self, protocol: Protocol) -> Share | None:
        """The share for the candidates of a protocol. The words of P(True) count as letters."""
        return self.candidates.get("texts" if protocol.candidates == "texts" else "letters")


def read(path: Path = FILE) -> MeasuredShares:
    """The shares of the card that was measured last, the last value of each case; none without a file.

    Rows of a machine without a GPU are passed over. Raises GpuBenchmarkError for a missing column and for a share that
    is not above 0 and at most 1.
    """
    rows = list(_rows(path)) if path.is_file() else []
    tokens: dict[int, Share] = {}
    conversations: dict[int, Share] = {}
    candidates: dict[str, Share] = {}
    for part, case, gpu, share in rows:
        if gpu != rows[-1][2]:
            continue
        if part == "gpu scoring":
            candidates[case] = share
        elif cut := CASE.fullmatch(case):
            measured = tokens if cut["kind"].startswith("by tokens") else conversations
            measured[int(cut["size"])] = share
    return MeasuredShares(tokens, conversations, candidates)


def _rows(path: Path) -> Iterator[tuple[str, str, str, Share]]:
    """Part, case, GPU and share of each row about a GPU that has a share."""
    with path.open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        if missing := COLUMNS - set(table.fieldnames or ()):
            raise GpuBenchmarkError(
                f"{path}: the column {min(missing)!r} is missing; measure again with 'make bench-gpu', or remove it."
            )
        for row in table:
            gpu = GPU.search(row["machine"] or "")
            if gpu is None or row["quantity"] != SHARE:
                continue
            try:
                value = float(row["value"])
            except (TypeError, ValueError):
                value = 0.0
            if not 0 < value <= 1:
                raise GpuBenchmarkError(
                    f"{path}: line {table.line_num}: the share of the peak is {row['value']!r}; it must be a number"
                    " above 0 and at most 1."
                )
            origin = f"{value:.0%} of the peak as measured on {gpu[1]} ({row['case']}; {row['date']}; {row['versions']})"
            yield row["benchmark"], row["case"], gpu[1], Share(value, origin)
