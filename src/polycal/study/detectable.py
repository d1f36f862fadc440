"""The smallest difference that a planned study can show, from the variances of a study that was measured."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from polycal.analysis import power
from polycal.analysis.power import Components, Design
from polycal.errors import PolycalError
from polycal.study import grid
from polycal.study.config import Config

VARIANCES = "variances.csv"
"""The variances of a published study."""
TABLES = ("contrasts", "cells")


class PilotError(PolycalError):
    """A pilot without variances; the message names what is missing."""


def variances(pilot: Path) -> pd.DataFrame:
    """The variances of the study in the folder ``pilot``, columns ``power.COLUMNS``.

    They are read from VARIANCES if it is there, else computed from the tables. Raises PilotError.
    """
    if (pilot / VARIANCES).is_file():
        found = pd.read_csv(pilot / VARIANCES)
        if missing := set(power.COLUMNS) - set(found):
            raise PilotError(f"{pilot / VARIANCES}: column {min(missing)!r} is missing; must be there.")
        return found
    tables = {name: pilot / f"{name}.parquet" for name in TABLES}
    for path in tables.values():
        if not path.is_file():
            raise PilotError(f"{path} is missing; a pilot must be the folder of a measured study.")
    contrasts, cells = (pd.read_parquet(path) for path in tables.values())
    if "question_variance" not in contrasts:
        raise PilotError(
            f"{tables['contrasts']}: column 'question_variance' is missing; measure the pilot again with this version."
        )
    return power.components(contrasts, cells)


def lines(config: Config, pilot: Path) -> Iterator[str]:
    """The smallest difference for each contrast and metric with power 80%, and where the variance comes from."""
    rows = power.of_rows(variances(pilot))
    if not rows:
        yield f"{pilot} compares no checkpoints, so it says nothing about the differences that this study can show."
        return
    yield (
        f"Smallest difference that this study shows with power 80% (95% interval, mean over languages), from the"
        f" variances of {pilot}; assumed are the pilot's languages:"
    )
    yield ""
    yield f"{'benchmark':20} {'questions':>9} {'seeds':>5} {'bases':>5}  {'contrast':26} {'metric':9} {'difference':>10}"
    sizes = designs(config)
    for benchmark, design in sizes.items():
        named = [row for row in rows if row[0]["benchmark"] == benchmark]
        # the variances of another benchmark are the best guess for one that the pilot lacks
        of_benchmark = named or [row for row in rows if row[0]["benchmark"] == rows[0][0]["benchmark"]]
        for names, found in of_benchmark:
            yield _line(benchmark, design, names, found)
    yield ""
    yield from _notes(list(sizes.values()), rows)


def designs(config: Config) -> dict[str, Design]:
    """The size of the study on each benchmark, by name; the fewest seeds and bases of the cells."""
    sizes: dict[str, Design] = {}
    for block in grid.blocks(config):
        if not block["data"]:
            continue
        for name in block["benchmarks"]:
            questions = grid.questions(config, name)
            if questions is None:
                continue
            bases = min(len(seeds) for seeds in block["models"].values())
            size = Design(questions, len(block["seeds"]), bases)
            other = sizes.get(name, size)
            sizes[name] = Design(questions, min(size.seeds, other.seeds), min(size.bases, other.bases))
    return dict(sorted(sizes.items()))


def _line(benchmark: str, design: Design, names: dict[str, str], found: Components) -> str:
    unknown = found.unknown(design)
    value = f"? ({unknown})" if unknown else f"{power.smallest_difference(found, design):.4f}"
    return (
        f"{benchmark:20} {design.questions:9} {design.seeds:5} {design.bases:5}  {names['contrast']:26}"
        f" {names['metric']:9} {value:>10}"
    )


def _notes(sizes: Sequence[Design], rows: Sequence[tuple[dict[str, str], Components]]) -> Iterator[str]:
    if any(size.seeds == 1 and size.bases == 1 for size in sizes):
        yield (
            "With one seed and one base, this is about other questions only. The study cannot say what another training"
            " would change; add 'grid.seeds'."
        )
    if any(found.unknown(size) for _, found in rows for size in sizes):
        yield "?: the pilot has too few trainings to say how much they differ."
    for names, found in rows:
        parts = power.shares(found)
        shown = ", ".join(
            f"{name} {'?' if value != value else f'{value:.0%}'}" for name, value in parts.items()
        )
        yield f"Share of the variance of one training, {names['benchmark']}, {names['contrast']}, {names['metric']}: {shown}"
