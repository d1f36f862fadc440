"""Find the logs in a folder, and read them, with the run that wrote each of them."""

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
    """The evaluation that wrote a log.

    A field is None if neither the log nor its results file contains it.
    """

    tool: str
    version: str | None
    model: str
    task: str
    num_fewshot: int | None
    chat_template: bool | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def model_name(self) -> str:
        """The model's name as a part of a path: the last part of a local folder, or ``owner__name`` on the hub."""
        name = self.model.rstrip("/")
        if name.startswith(("/", ".", "~")):
            name = name.rsplit("/", 1)[-1]
        return path_part(name)


def path_part(name: str) -> str:
    """A name as a part of a path: ``owner/name`` gives ``owner__name``."""
    return re.sub(r"[^\w.+-]+", "__", name).lstrip(".") or "none"


class Log(NamedTuple):
    """A log: the questions of one task in one run. ``table`` has the columns of ``logged_questions``.

    ``labels`` and ``rounded`` are those of ``LoggedQuestions``. ``numbers_in_doubt`` is true if the numbers
    of the questions may be wrong.
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
        """The log with the questions that were collected from it.

        Raises ImportLogError as their ``table``.
        """
        table = questions.table(str(path))
        return cls(path, sha256, run, table, questions.labels, questions.rounded, numbers_in_doubt)

    def without_tokens(self) -> "Log":
        """The log without the numbers of tokens, which must be removed if they are missing for some questions."""
        return self._replace(table=without_tokens(self.table))


class LogFile(NamedTuple):
    """The path of a log, and the function that reads and checks it. Both can be sent to another process."""

    path: Path
    read: Callable[[], Log]


PARALLEL_FROM = 64_000_000
"""Total size in bytes from which several processes read logs faster than one."""
MAX_PROCESSES = 8


def read_all(log_files: Iterable[LogFile]) -> list[Log]:
    """Read all logs, in order, and in several processes if they are large.

    Raises the ImportLogError of the first log that is not allowed.
    """
    log_files = list(log_files)
    processes = min(MAX_PROCESSES, len(os.sched_getaffinity(0)), len(log_files))
    if processes < 2 or sum(log.path.stat().st_size for log in log_files) < PARALLEL_FROM:
        return [_read(log) for log in log_files]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        return list(pool.map(_read, log_files, chunksize=1 + len(log_files) // (16 * processes)))


def _read(log: LogFile) -> Log:
    """Read a log. Raises ImportLogError also if the file cannot be opened."""
    try:
        return log.read()
    except OSError as error:
        raise ImportLogError(
            f"{log.path}: cannot be read ({error.strerror}); must be a readable file."
        ) from None


def without_tokens(table: pa.Table) -> pa.Table:
    """The questions with ``option_tokens`` set to null."""
    index = table.schema.get_field_index("option_tokens")
    field = table.schema.field(index)
    return table.set_column(index, field, pa.nulls(table.num_rows, field.type))


def in_folder(folder: Path, pattern: str, hint: str) -> Iterable[Path]:
    """The files below ``folder`` that match ``pattern``, sorted.

    Raises ImportLogError, with ``hint``, if none does.
    """
    if not folder.is_dir():
        raise ImportLogError(f"{folder}: no such folder; must be a folder with logs.")
    paths = sorted(path for path in folder.rglob(pattern) if path.is_file())
    if not paths:
        raise ImportLogError(f"{folder}: contains no log of questions ({pattern}); {hint}.")
    return paths
