"""Read logs of lighteval: ``details/MODEL/TIME/details_TASK_TIME.parquet``, written with ``--save-details``.

Since version 0.11 a row has the nested columns doc, metric and model_response. Before, the columns were flat.
Up to 0.6 each value is the text of a Python value. TASK contains the number of few-shot examples:
``SUITE|NAME:SUBJECT|SHOTS``.
"""

import ast
import fnmatch
import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from polycal.artifacts import files
from polycal.data.importers.logged_questions import (
    ImportLogError,
    LoggedQuestion,
    LoggedQuestions,
    log_likelihoods,
)
from polycal.data.importers.logs import Log, LogFile, Run, in_folder

TOOL = "lighteval"
DETAILS = re.compile(r"details_(?P<task>.+)_(?P<time>\d{4}-\d\d-\d\dT[\d.-]+)\.parquet")
HELP = "lighteval writes it with --save-details"
NESTED = [
    "doc.id", "doc.query", "doc.choices", "doc.gold_index", "metric", "model_response.input",
    "model_response.logprobs", "model_response.output_tokens",
]  # fmt: skip
FLAT = ["example", "full_prompt", "choices", "gold_index", "predictions", "cont_tokens", "metrics"]
BATCH_ROWS = 1000
GENERATED = "the task generates text, so its log contains no log-likelihoods of options; must be a multiple-choice task"


class Row(NamedTuple):
    """The log of one question, nested or flat.

    ``keys`` are the log's names of ``choices``, ``gold`` and ``values``, for messages.
    """

    number: Any
    context: Any
    choices: Any
    gold: Any
    values: Any
    tokens: Any
    metrics: Any
    keys: tuple[str, str, str]


def logs(folder: Path, tasks: str = "*") -> Iterator[LogFile]:
    """The logs below ``folder`` whose tasks match the pattern ``tasks``, in the order of their paths.

    Raises ImportLogError if there are no logs. Reading a log raises it if the log is broken or contains no
    log-likelihoods of options.
    """
    for path in in_folder(folder, "details_*.parquet", HELP):
        match = DETAILS.fullmatch(path.name)
        if match is None:
            raise ImportLogError(
                f"{path}: not a log of lighteval; its name must be details_TASK_TIME.parquet."
            )
        name, shots = _task(match["task"])
        if fnmatch.fnmatchcase(name, tasks):
            yield LogFile(path, partial(_log, path, name, shots, match["time"]))


def _task(text: str) -> tuple[str, int | None]:
    """The name and the number of examples in ``SUITE|NAME|SHOTS|…``."""
    pieces = text.split("|")
    numbers = [piece for piece in pieces if piece.isdecimal()]
    names = [piece for piece in pieces if not piece.isdecimal()]
    return (names[-1] if names else text), (int(numbers[0]) if numbers else None)


def _log(path: Path, task: str, shots: int | None, time: str) -> Log:
    """Read a log. If the number of tokens is missing for some questions, it is removed for all."""
    questions, complete = LoggedQuestions(), True
    for position, row in enumerate(_rows(path)):
        question = _question(row, f"{path}: row {position}", position)
        complete = complete and question.tokens is not None
        questions.add(question)
    log = Log.of(path, files.sha256(path), _run(path, task, shots, time), questions)
    return log if complete else log.without_tokens()


def _rows(path: Path) -> Iterator[Row]:
    """The rows of a log. Raises ImportLogError if the file is broken or has other columns."""
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            names = set(schema.names)
            structs = {name for name in names if pa.types.is_struct(schema.field(name).type)}
            nested = {"doc", "metric", "model_response"} <= structs
            if not nested and not {"choices", "gold_index", "predictions"} <= names:
                raise ImportLogError(
                    f"{path}: not a log of lighteval (columns {', '.join(sorted(names))}); must have doc, metric and"
                    " model_response, or choices, gold_index and predictions."
                )
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=NESTED if nested else FLAT):
                yield from map(_nested if nested else _flat, batch.to_pylist())
    except (pa.ArrowInvalid, OSError) as error:
        raise ImportLogError(f"{path}: truncated or not a Parquet file; {HELP}.") from error


def _nested(row: Mapping[str, Any]) -> Row:
    """A row of version 0.11 or later."""
    doc, answer = row["doc"] or {}, row["model_response"] or {}
    keys = ("doc.choices", "doc.gold_index", "model_response.logprobs")
    context = answer.get("input")
    return Row(
        number=doc.get("id"),
        context=context if isinstance(context, str) else doc.get("query"),
        choices=doc.get("choices"),
        gold=doc.get("gold_index"),
        values=answer.get("logprobs"),
        tokens=answer.get("output_tokens"),
        metrics=row["metric"],
        keys=keys,
    )


def _flat(row: Mapping[str, Any]) -> Row:
    """A row of a version before 0.11."""
    parsed = {key: _value(row.get(key)) for key in FLAT[2:]}
    predictions = parsed["predictions"]
    if isinstance(predictions, (list, tuple)):
        # An option of several tokens has a pair: its log-likelihood, and whether it is the greedy
        # continuation.
        predictions = [
            prediction[0] if isinstance(prediction, (list, tuple)) and prediction else prediction
            for prediction in predictions
        ]
    return Row(
        number=None,
        context=row.get("full_prompt") or row.get("example"),
        choices=parsed["choices"],
        gold=parsed["gold_index"],
        values=predictions,
        tokens=parsed["cont_tokens"],
        metrics=parsed["metrics"],
        keys=("choices", "gold_index", "predictions"),
    )


def _value(value: Any) -> Any:
    """The Python value of a text, or the text itself if it is not a literal, for example a tensor."""
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return value


def _question(row: Row, where: str, position: int) -> LoggedQuestion:
    """The question of a row. Raises ImportLogError, with the key, if a value is not allowed."""
    choices, values = row.choices, row.values
    choices_key, gold_key, values_key = row.keys
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise ImportLogError(f"{where}: {choices_key} is {choices!r}; must be a list of texts.")
    if not isinstance(values, list) or not values or any(isinstance(value, str) for value in values):
        raise ImportLogError(f"{where}: {values_key} contains no numbers: {GENERATED}.")
    if len(values) not in (len(choices), 2 * len(choices)):
        raise ImportLogError(
            f"{where}: {values_key} has {len(values)} values for {len(choices)} options; must be one for each."
        )
    if row.gold is None or isinstance(row.gold, str):
        raise ImportLogError(f"{where}: {gold_key} is {row.gold!r}; must be the number of an option.")
    number = str(row.number) if row.number is not None else ""
    accuracy = row.metrics.get("acc") if isinstance(row.metrics, dict) else None
    return LoggedQuestion(
        where=where,
        number=int(number) if number.isascii() and number.isdecimal() else position,
        data_set_id=None,
        group="",
        context=str(row.context or ""),
        options=choices,
        logprob=log_likelihoods(values[: len(choices)], where, values_key),
        target=row.gold,
        accuracy=accuracy,
        tokens=_counts(row.tokens, len(choices)),
    )


def _counts(tokens: Any, options: int) -> list[int] | None:
    """The number of tokens of each option, without the padding of −1.

    None if the log does not contain all tokens. Some versions write the tokens of only a few options if the
    options have fewer tokens than there are options.
    """
    if not isinstance(tokens, list) or len(tokens) != options:
        return None
    if not all(isinstance(ids, list) and all(isinstance(token, int) for token in ids) for ids in tokens):
        return None
    counts = [sum(token >= 0 for token in ids) for ids in tokens]
    return counts if min(counts) > 0 else None


def _run(path: Path, task: str, shots: int | None, time: str) -> Run:
    """The run of a log, from the names of the folders and from the results file of the run."""
    parts = path.resolve().parts
    details_index = len(parts) - 1 - parts[::-1].index("details") if "details" in parts[:-1] else None
    model = "/".join(parts[details_index + 1 : -2]) if details_index is not None else ""
    general: Mapping[str, Any] = {}
    if details_index is not None:
        results = Path(*parts[:details_index], "results", model, f"results_{time}.json")
        if results.is_file():
            general = _general(results)
    sha = general.get("lighteval_sha")
    return Run(
        tool=TOOL,
        version=None,
        model=str(general.get("model_name") or model or path.parent.name),
        task=task,
        num_fewshot=shots,
        details={"lighteval_sha": sha} if sha else {},
    )


def _general(path: Path) -> Mapping[str, Any]:
    """The general configuration in the results of a run. Raises ImportLogError if it is missing."""
    try:
        general = json.loads(path.read_bytes()).get("config_general")
    except (ValueError, AttributeError):
        general = None
    if not isinstance(general, dict):
        raise ImportLogError(
            f"{path}: broken or truncated; must contain the results of a run with config_general."
        )
    return general
