"""Score records from the logs of a folder: one for each model, benchmark, protocol and language."""

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
"""The logs of each tool; the name is that of its command."""


@dataclass(frozen=True)
class Names:
    """Names that the user gives: model and benchmark replace those of the logs, language fills a gap."""

    model: str | None = None
    benchmark: str | None = None
    language: str | None = None


@dataclass(frozen=True)
class _Part:
    """A log with its place: what it contributes to the record of a cell."""

    log: Log
    name: TaskName
    model: str


def import_logs(tool: str, folder: Path, out: Path, names: Names, tasks: str = "*") -> list[Path]:
    """Write a record for each cell of the logs below ``folder`` into the new folder ``out``; returns their paths.

    Only tasks whose names match the pattern ``tasks`` are read. Paths are MODEL/BENCHMARK/PROTOCOL/LANGUAGE.parquet.
    All logs are read and checked first. Raises ImportLogError, with nothing written, for a log that is not allowed, for two runs of one task and model, and
    for a folder ``out`` that is there already.
    """
    if out.exists():
        raise ImportLogError(f"{out}: is there already; --out must be a new folder.")
    language = _checked(names)
    parts = [_part(log, names, language) for log in logs.read_all(TOOLS[tool](folder, tasks))]
    if not parts:
        raise ImportLogError(f"{folder}: no log is of a task that matches {tasks!r}; --tasks must match one.")
    cells = _by_cell(parts)
    tables = {cell: _table(members) for cell, members in cells.items()}
    part = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        for cell, members in cells.items():
            path = part.joinpath(*cell[:-1], f"{cell[-1]}.parquet")
            table = tables.pop(cell)
            records.write(path, table, table.schema, _manifest(cell, members, folder))
        out.parent.mkdir(parents=True, exist_ok=True)
        os.rename(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return sorted(out.joinpath(*cell[:-1], f"{cell[-1]}.parquet") for cell in cells)


def _checked(names: Names) -> str | None:
    """The standard tag of the given language. Raises ImportLogError for a name that cannot be used."""
    for option, name in (("--model", names.model), ("--benchmark", names.benchmark)):
        if name is not None and logs.path_part(name) != name:
            raise ImportLogError(
                f"{option}: {name!r} must be letters, digits and the characters _ . + - only."
            )
    if names.language is None:
        return None
    language = task_names.language_of(names.language)
    if language is None:
        raise ImportLogError(
            f"--language: {names.language!r} is no tag of a language; must be one, such as de."
        )
    return language


def _part(log: Log, names: Names, language: str | None) -> _Part:
    """The place of a log. Raises ImportLogError if its task's language is unknown or not the given one."""
    task = log.run.task
    name = task_names.recognise(task)
    if name is None:
        if language is None:
            raise ImportLogError(
                f"{log.path}: the name of task {task!r} does not say its language; give it with --language."
            )
        name = TaskName(names.benchmark or logs.path_part(task), language, task if names.benchmark else None)
    elif language not in (None, name.language):
        raise ImportLogError(
            f"{log.path}: task {task!r} is in {name.language!r}, but --language is {language!r}; must be the same."
        )
    if names.benchmark:
        name = name._replace(benchmark=names.benchmark)
    return _Part(log, name, names.model or log.run.model_name)


Cell = tuple[str, str, str, str]
"""Model, benchmark, protocol and language."""


def _by_cell(parts: list[_Part]) -> dict[Cell, list[_Part]]:
    """The logs of each cell, in the order of their subjects.

    Raises ImportLogError for two logs of one task, and for logs of one cell that say no subject.
    """
    letters: dict[tuple[str, str], bool] = {}
    for part in parts:
        key = part.model, part.name.benchmark
        letters[key] = letters.get(key, True) and part.log.labels is not None
    cells: dict[Cell, list[_Part]] = {}
    for part in parts:
        run = part.log.run
        form = "letters" if letters[part.model, part.name.benchmark] else "texts"
        protocol = form if run.num_fewshot is None else f"{form}-{run.num_fewshot}shot"
        if run.chat_template:
            protocol += "-chat"
        cell = (part.model, part.name.benchmark, protocol, part.name.language)
        cells.setdefault(cell, []).append(part)
    for cell, members in cells.items():
        members.sort(key=lambda part: (part.name.subject or "", str(part.log.path)))
        for first, second in itertools.pairwise(members):
            if first.name.subject == second.name.subject:
                raise ImportLogError(
                    f"{first.log.path} and {second.log.path} are both {', '.join(cell)}"
                    f"{f', {first.name.subject}' if first.name.subject else ''}; a folder must hold one run of each"
                    " model and task."
                )
    return cells


def _table(members: list[_Part]) -> pa.Table:
    """The rows of a cell: ids of the data set where it has unique ones, else subject and number."""
    tables = [_in_order(part) for part in members]
    table = pa.concat_tables(tables)
    if table["option_tokens"].null_count:
        table = logs.without_tokens(table)
    own = table["own_id"]
    if not own.null_count and len(own.unique()) == len(own):
        ids: pa.ChunkedArray | pa.Array = own
    else:
        _check_numbers(members)
        ids = pa.array(
            [
                f"{part.name.subject}/{number}" if part.name.subject else str(number)
                for part, one in zip(members, tables, strict=True)
                for number in one["number"].to_pylist()
            ],
            pa.string(),
        )
    table = table.set_column(0, "question_id", ids)
    with_pmi = table[records.UNCONDITIONAL].null_count == 0
    wanted = [*records.SCORE.names, *([records.UNCONDITIONAL] if with_pmi else [])]
    return table.select(wanted)


def _in_order(part: _Part) -> pa.Table:
    """The questions by number, however many processes wrote them; each with a group."""
    table = part.log.table.sort_by("number")
    groups = [group or part.name.subject or "all" for group in table["group"].to_pylist()]
    return table.set_column(table.schema.get_field_index("group"), "group", pa.array(groups, pa.string()))


def _check_numbers(members: list[_Part]) -> None:
    for part in members:
        if part.log.numbers_in_doubt:
            raise ImportLogError(
                f"{part.log.path}: doc_id is not in the order in which lm-eval writes all questions, and with"
                " --samples it numbers an unsorted list wrongly; the data set must have ids, or the list must be"
                " sorted."
            )


def _manifest(cell: Cell, members: list[_Part], folder: Path) -> dict[str, Any]:
    """The cell of a record, and where it came from."""
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
                    "file": part.log.path.relative_to(folder).as_posix(),
                    "sha256": part.log.sha256,
                    "task": part.log.run.task,
                    "num_fewshot": part.log.run.num_fewshot,
                    **part.log.run.details,
                }
                for part in members
            ],
            "changed_by_rounding": sum(part.log.rounded for part in members),
        },
    }
