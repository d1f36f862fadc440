"""Logs of lm-evaluation-harness: ``samples_TASK_TIME.jsonl`` beside ``results_TIME.json``.

``lm_eval --log_samples --output_path FOLDER`` writes them. Since version 0.4.3 each line is one question with
its numbers as texts. Before, ``MODEL_TASK.jsonl`` beside ``results.json`` holds one array, with plain numbers.
No version logs the number of tokens of an option.
"""

import fnmatch
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from polycal.artifacts import files
from polycal.data import json_values, text_files
from polycal.data.importers import lm_eval_samples
from polycal.data.importers.logged_questions import ImportLogError
from polycal.data.importers.logs import Log, LogFile, Run, in_folder

TOOL = "lm-evaluation-harness"
SAMPLES = re.compile(r"samples_(?P<task>.+)_(?P<time>\d{4}-\d\d-\d\dT[\d.-]+)\.jsonl")
OBJECTS = ("config", "configs", "n-shot", "n-samples", "versions")
"""Keys of the results that are read and hold objects."""
HELP = "lm_eval writes it with --log_samples and --output_path"


def logs(folder: Path, tasks: str = "*") -> Iterator[LogFile]:
    """The logs of matching tasks below ``folder``, in the order of their paths.

    Raises ImportLogError for a folder without logs. Reading a log raises it if the log is broken or holds no
    log-likelihoods of options.
    """
    for path in in_folder(folder, "*.jsonl", HELP):
        match = SAMPLES.fullmatch(path.name)
        if match:
            task, read = match["task"], partial(_of_lines, path, match["task"], match["time"])
        else:
            task, results = _old_task(path)
            read = partial(_of_array, path, task, results)
        if fnmatch.fnmatchcase(task, tasks):
            yield LogFile(path, read)


def _of_lines(path: Path, task: str, time: str) -> Log:
    beside = sorted(path.parent.glob(f"*_{time}.json"))
    results = _read_results(beside[0]) if beside else {}
    digest = hashlib.sha256()
    questions, in_doubt = lm_eval_samples.read(_lines(path, digest))
    run = _run(path, task, results)
    log = Log.of(path, digest.hexdigest(), run, questions, in_doubt)
    counts = (results.get("n-samples") or {}).get(task)
    count = counts.get("effective") if isinstance(counts, dict) else None
    if count not in (None, log.table.num_rows):
        raise ImportLogError(
            f"{path}: holds {log.table.num_rows} questions, but {beside[0].name} counts {count}; the log is cut or"
            " holds another run."
        )
    return log


def _lines(path: Path, digest: Any) -> Iterator[tuple[str, Any]]:
    """Every line's value with its location; the bytes are added to ``digest`` as they pass."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            digest.update(line)
            if not line.strip():
                continue
            try:
                yield f"{path}: line {number}", json.loads(line.decode())
            except ValueError as error:
                reason = getattr(error, "msg", "not UTF-8")
                raise ImportLogError(
                    f"{path}: line {number}: not valid JSON ({reason}); a line must hold one whole question, so the"
                    " log is cut or damaged."
                ) from None


def _old_task(path: Path) -> tuple[str, Mapping[str, Any]]:
    """The task of a log of the older form, and the results of its run."""
    beside = path.with_name("results.json")
    results = _read_results(beside) if beside.is_file() else {}
    tasks = [task for task in results.get("configs") or {} if path.stem.endswith(f"_{task}")]
    if not tasks:
        raise ImportLogError(
            f"{path}: is no log of lm-eval; one is named samples_TASK_TIME.jsonl, or MODEL_TASK.jsonl beside the"
            " results.json of its run."
        )
    return max(tasks, key=len), results


def _of_array(path: Path, task: str, results: Mapping[str, Any]) -> Log:
    questions, in_doubt = lm_eval_samples.read(_elements(path))
    return Log.of(path, files.sha256(path), _run(path, task, results), questions, in_doubt)


def _elements(path: Path) -> Iterator[tuple[str, Any]]:
    with text_files.opened(path) as file:
        for number, value in enumerate(json_values.array(path, file)):
            yield f"{path}: element {number}", value


def _read_results(path: Path) -> Mapping[str, Any]:
    try:
        results = json.loads(path.read_bytes())
    except ValueError:
        results = None
    if not isinstance(results, dict):
        raise ImportLogError(f"{path}: broken or cut off; must hold the results of a run as one JSON object.")
    for key in OBJECTS:
        if not isinstance(results.get(key) or {}, dict):
            raise ImportLogError(f"{path}: {key} is {results[key]!r}; must be an object.")
    return results


def _run(path: Path, task: str, results: Mapping[str, Any]) -> Run:
    """What the results beside a log say of its run; the model's name is at least that of the folder."""
    config = results.get("config") or {}
    arguments = config.get("model_args") or ""
    if isinstance(arguments, str):
        arguments = dict(pair.partition("=")[::2] for pair in arguments.split(","))
    elif not isinstance(arguments, dict):
        arguments = {}
    model = results.get("model_name") or arguments.get("pretrained") or arguments.get("model")
    shots = (results.get("n-shot") or {}).get(task)
    return Run(
        tool=TOOL,
        version=results.get("lm_eval_version"),
        model=str(model or path.parent.name),
        task=task,
        num_fewshot=shots if isinstance(shots, int) else None,
        chat_template=bool(results["chat_template"]) if "chat_template" in results else None,
        details={
            key: value
            for key, value in {
                "git_hash": results.get("git_hash"),
                "model_args": config.get("model_args"),
                "task_version": (results.get("versions") or {}).get(task),
            }.items()
            if value is not None
        },
    )
