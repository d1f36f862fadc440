"""Logs of a folder: where they are, and what each says of the run that wrote it."""

import multiprocessing
import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from polycal.data.importers.logged_questions import ImportLogError, LoggedQuestions


@dataclass(frozen=True)
class Run:
    """The evaluation that wrote a log; None for what neither the log nor the results beside it say."""

    tool: str
    version: str | None
    model: str
    task: str
    num_fewshot: int | None
    chat_template: bool | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def model_name(self) -> str:
        """The model's name as a part of a path: of a local folder the last part, of the hub ``owner__name``."""
        name = self.model.rstrip("/")
        if name.startswith(("/", ".", "~")):
            name = name.rsplit("/", 1)[-1]
        return path_part(name)


def path_part(name: str) -> str:
    """A name as a part of a path: ``owner/name`` gives ``owner__name``."""
    return re.sub(r"[^\w.+-]+", "__", name).lstrip(".") or "none"


class Log(NamedTuple):
    """A file of questions of one task and run, ``table`` with the columns of ``logged_questions``.

    ``labels`` are its options if they are labels, such as letters. ``rounded`` counts the questions whose answer
    single precision changes. ``numbers_in_doubt`` says that the numbers of the questions may be wrong.
    """

    path: Path
    sha256: str
    run: Run
    table: pa.Table
    labels: list[str] | None
    rounded: int
    numbers_in_doubt: bool = False

    @classmethod
    def of(
        cls, path: Path, sha256: str, run: Run, questions: LoggedQuestions, numbers_in_doubt: bool = False
    ) -> "Log":
        """The log with the questions that were collected from it. Raises ImportLogError if there are none."""
        table = questions.table(str(path))
        return cls(path, sha256, run, table, questions.labels, questions.rounded, numbers_in_doubt)

    def without_tokens(self) -> "Log":
        """The log with no number of tokens, for one that has them for some questions only."""
        return self._replace(table=without_tokens(self.table))


class LogFile(NamedTuple):
    """A file that is a log, and the function that reads and checks it, which can be sent to another process."""

    path: Path
    read: Callable[[], Log]


PARALLEL_FROM = 64_000_000
"""Bytes of logs from which several processes are faster than one."""
MOST_PROCESSES = 8


def read_all(found: Iterable[LogFile]) -> list[Log]:
    """Every log, in order; in several processes if there is much to read. Raises the error of the first one."""
    logs = list(found)
    processes = min(MOST_PROCESSES, len(os.sched_getaffinity(0)), len(logs))
    if processes < 2 or sum(log.path.stat().st_size for log in logs) < PARALLEL_FROM:
        return [_read(log) for log in logs]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        return list(pool.map(_read, logs, chunksize=1 + len(logs) // (16 * processes)))


def _read(log: LogFile) -> Log:
    try:
        return log.read()
    except OSError as error:
        raise ImportLogError(
            f"{log.path}: cannot be read ({error.strerror}); must be a readable file."
        ) from None


def without_tokens(table: pa.Table) -> pa.Table:
    """The questions with ``option_tokens`` missing."""
    place = table.schema.get_field_index("option_tokens")
    field = table.schema.field(place)
    return table.set_column(place, field, pa.nulls(table.num_rows, field.type))


def in_folder(folder: Path, pattern: str, hint: str) -> Iterable[Path]:
    """The files below ``folder`` that match, in order. Raises ImportLogError if there are none."""
    if not folder.is_dir():
        raise ImportLogError(f"{folder}: no such folder; must be one that holds logs.")
    paths = sorted(path for path in folder.rglob(pattern) if path.is_file())
    if not paths:
        raise ImportLogError(f"{folder}: holds no log ({pattern}) of single questions; {hint}.")
    return paths
