"""Writing figures as SVG, PDF and PNG, in this process or in several."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from polycal.artifacts import files
from polycal.errors import PolycalError
from polycal.report import style
from polycal.report.study_tables import StudyTables

UNDATED: dict[str, dict[str, None]] = {
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
    ".png": {"Software": None},
}
"""Formats of a figure, and the metadata left out of each so that equal figures give equal bytes."""

Figures = Mapping[str, Callable[[], Figure]]
"""Functions that draw figures, by file name without suffix."""

_figures: dict[str, Callable[[], Figure]] = {}
"""The figures that this process draws for the one that started it."""


class WorkerError(PolycalError):
    """A process that draws figures was killed. The message names the folder of the figures."""


def write(figure: Figure, folder: Path, name: str) -> None:
    """Write a figure to ``folder`` in all formats, and close it."""
    # all formats share one layout, which takes as long as the drawing
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for suffix, metadata in UNDATED.items():
        with files.replacing(folder / f"{name}{suffix}") as part:
            figure.savefig(part, format=suffix[1:], metadata=metadata)
    plt.close(figure)


def one_by_one(figures: Figures, folder: Path) -> Iterator[str]:
    """Write ``figures`` to ``folder``; yields the name of each."""
    style.apply()
    for name, make in figures.items():
        write(make(), folder, name)
        yield name


def in_processes(
    drawings: Callable[[StudyTables], Figures],
    study: StudyTables,
    names: Sequence[str],
    folder: Path,
    processes: int,
) -> Iterator[str]:
    """Write those of the ``drawings`` of a study that are called ``names``; yields the name of each.

    Every process gets the study once. The bytes of a figure do not depend on the process. Raises WorkerError
    if a process is killed.
    """
    # a forked process could wait for ever for a lock that a thread of this process holds
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_start, initargs=(drawings, study)) as pool:
        try:
            for done in as_completed([pool.submit(_write_named, name, folder) for name in names]):
                yield done.result()
        except BrokenProcessPool:
            raise WorkerError(
                f"{folder}: a process that draws figures was killed, perhaps because memory ran out; give the job"
                " more memory, or run it with --processes 1."
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _start(drawings: Callable[[StudyTables], Figures], study: StudyTables) -> None:
    """Prepare a process that draws figures of ``study``. It ends if the process that started it is killed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    style.apply()
    _figures.update(drawings(study))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _write_named(name: str, folder: Path) -> str:
    write(_figures[name](), folder, name)
    return name
