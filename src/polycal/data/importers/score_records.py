"""Write score records from the logs in a folder: one for each model, benchmark, protocol and language."""

import itertools
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from polycal.artifacts import records
from polycal.data.importers import lighteval, lm_eval, logs, task_names
from polycal.data.importers.logged_questions import ImportLogError
from polycal.data.importers.logs import Log
from polycal.data.importers.task_names import TaskName
from polycal.vocabulary import CHECKPOINT_KEYS, NONE

TOOLS = {"lm-eval": lm_eval.logs, "lighteval": lighteval.logs}
"""Command of a tool → the function that finds its logs."""


@dataclass(frozen=True)
class Names:
    """Names from the command line.

    ``model`` and ``benchmark`` replace those of the logs. ``language`` is used for tasks whose name contains
    none.
    """

    model: str | None = None
    benchmark: str | None = None
    language: str | None = None


@dataclass(frozen=True)
class _NamedLog:
    """A log with the model, benchmark, language and subject to which it belongs."""

    log: Log
    name: TaskName
    model: str


def import_logs(tool: str, folder: Path, out: Path, names: Names, tasks: str = "*") -> list[Path]:
    """Write a record for each cell of the logs below ``folder`` into the new folder ``out``, and return their paths.

    A path is MODEL/BENCHMARK/PROTOCOL/LANGUAGE.parquet. Only tasks whose names match the pattern ``tasks``
    are imported. All logs are read and checked before anything is written. Raises ImportLogError for a log
    that is not allowed, for two runs of one task and model, and if ``out`` exists.
    """
    if out.exists():
        raise ImportLogError(f"{out}: already exists; --out must be a new folder.")
    language = _check_names(names)
    named_logs = [_name(log, names, language) for log in logs.read_all(TOOLS[tool](folder, tasks))]
    if not named_logs:
        raise ImportLogError(
            f"{folder}: no log has a task that matches {tasks!r}; --tasks must match at least one."
        )
    cells = _by_cell(named_logs)
    tables = {cell: _table(members) for cell, members in cells.items()}
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        for cell, members in cells.items():
            path = temporary.joinpath(*cell[:-1], f"{cell[-1]}.parquet")
            table = tables.pop(cell)
            records.write(path, table, table.schema, _manifest(cell, members, folder))
        out.parent.mkdir(parents=True, exist_ok=True)
        os.rename(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return sorted(out.joinpath(*cell[:-1], f"{cell[-1]}.parquet") for cell in cells)


def _check_names(names: Names) -> str | None:
    """The standard tag of the given language. Raises ImportLogError for a name that cannot be used."""
    for option, name in (("--model", names.model), ("--benchmark", names.benchmark)):
        if name is not None and logs.path_part(name) != name:
            raise ImportLogError(
                f"{option}: {name!r} must contain only letters, digits and the characters _ . + -."
            )
    if names.language is None:
        return None
    language = task_names.language_of(names.language)
    if language is None:
        raise ImportLogError(
            f"--language: {names.language!r} is not the tag of a language; must be one, such as de."
        )
    return language


def _name(log: Log, names: Names, language: str | None) -> _NamedLog:
    """The log with its names.

    Raises ImportLogError if its task's language is unknown or not the given one.
    """
    task = log.run.task
    name = task_names.recognise(task)
    if name is None:
        if language is None:
            raise ImportLogError(
                f"{log.path}: the name of task {task!r} does not contain a known language; give it with --language."
            )
        name = TaskName(names.benchmark or logs.path_part(task), language, task if names.benchmark else None)
    elif language not in (None, name.language):
        raise ImportLogError(
            f"{log.path}: task {task!r} is in {name.language!r}, but --language is {language!r}; must be the same."
        )
    if names.benchmark:
        name = name._replace(benchmark=names.benchmark)
    return _NamedLog(log, name, names.model or log.run.model_name)


Cell = tuple[str, str, str, str]
"""Model, benchmark, protocol and language."""


def _by_cell(named_logs: list[_NamedLog]) -> dict[Cell, list[_NamedLog]]:
    """The logs of each cell, in the order of their subjects.

    Raises ImportLogError for two logs of one cell with the same subject, or without a subject.
    """
    are_letters: dict[tuple[str, str], bool] = {}
    for named in named_logs:
        key = named.model, named.name.benchmark
        are_letters[key] = are_letters.get(key, True) and named.log.labels is not None
    cells: dict[Cell, list[_NamedLog]] = {}
    for named in named_logs:
        run = named.log.run
        form = "letters" if are_letters[named.model, named.name.benchmark] else "texts"
        protocol = form if run.num_fewshot is None else f"{form}-{run.num_fewshot}shot"
        if run.chat_template:
            protocol += "-chat"
        cell = (named.model, named.name.benchmark, protocol, named.name.language)
        cells.setdefault(cell, []).append(named)
    for cell, members in cells.items():
        members.sort(key=lambda named: (named.name.subject or "", str(named.log.path)))
        for first, second in itertools.pairwise(members):
            if first.name.subject == second.name.subject:
                raise ImportLogError(
                    f"{first.log.path} and {second.log.path} are both {', '.join(cell)}"
                    f"{f', {first.name.subject}' if first.name.subject else ''}; a folder must contain one run of"
                    " each model and task."
                )
    return cells


def _table(members: list[_NamedLog]) -> pa.Table:
    """The rows of a cell.

    The ids are those of the data set if it has unique ones, else subject and number.
    """
    tables = [_in_order(named) for named in members]
    table = pa.concat_tables(tables)
    if table["option_tokens"].null_count:
        table = logs.without_tokens(table)
    data_set_ids = table["data_set_id"]
    if not data_set_ids.null_count and len(data_set_ids.unique()) == len(data_set_ids):
        ids: pa.ChunkedArray | pa.Array = data_set_ids
    else:
        _check_numbers(members)
        ids = pa.array(
            [
                f"{named.name.subject}/{number}" if named.name.subject else str(number)
                for named, questions in zip(members, tables, strict=True)
                for number in questions["number"].to_pylist()
            ],
            pa.string(),
        )
    table = table.set_column(0, "question_id", ids)
    has_pmi = table[records.UNCONDITIONAL].null_count == 0
    return table.select([*records.SCORE.names, *([records.UNCONDITIONAL] if has_pmi else [])])


def _in_order(named: _NamedLog) -> pa.Table:
    """The questions of a log in the order of their numbers, each with a group."""
    table = named.log.table.sort_by("number")
    groups = [group or named.name.subject or "all" for group in table["group"].to_pylist()]
    return table.set_column(table.schema.get_field_index("group"), "group", pa.array(groups, pa.string()))


def _check_numbers(members: list[_NamedLog]) -> None:
    """Raise ImportLogError if the numbers of a log's questions may be wrong."""
    for named in members:
        if named.log.numbers_in_doubt:
            raise ImportLogError(
                f"{named.log.path}: doc_id is not in the order in which lm-eval writes all questions, and with"
                " --samples it numbers an unsorted list wrongly; the data set must have ids, or the list must be"
                " sorted."
            )


def _manifest(cell: Cell, members: list[_NamedLog], folder: Path) -> dict[str, Any]:
    """The manifest of a record: its cell, and its origin."""
    model, benchmark, protocol, language = cell
    run = members[0].log.run
    return {
        "cell": {
            "stage": "import",
            **dict.fromkeys(CHECKPOINT_KEYS, NONE),
            "model": model,
            "benchmark": benchmark,
            "protocol": protocol,
            "language": language,
            "settings": {"candidates": protocol.split("-")[0]},
        },
        "origin": {
            "tool": run.tool,
            "version": run.version,
            "model": run.model,
            "chat_template": run.chat_template,
            "logs": [
                {
                    "file": named.log.path.relative_to(folder).as_posix(),
                    "sha256": named.log.sha256,
                    "task": named.log.run.task,
                    "num_fewshot": named.log.run.num_fewshot,
                    **named.log.run.details,
                }
                for named in members
            ],
            "changed_by_rounding": sum(named.log.rounded for named in members),
        },
    }
