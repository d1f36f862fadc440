"""Read logs of lm-evaluation-harness: ``samples_TASK_TIME.jsonl`` beside ``results_TIME.json``.

``lm_eval --log_samples --output_path FOLDER`` writes them. Since version 0.4.3 each line is one question,
with numbers as texts. Before, ``MODEL_TASK.jsonl`` beside ``results.json`` contained one array with plain
numbers. No version logs the number of tokens of an option.
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
"""Keys of the results file that are read and must be objects."""
HELP = "lm_eval writes it with --log_samples and --output_path"


def logs(folder: Path, tasks: str = "*") -> Iterator[LogFile]:
    """The logs below ``folder`` whose tasks match the pattern ``tasks``, in the order of their paths.

    Raises ImportLogError if there are no logs. Reading a log raises it if the log is broken or contains no
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
    """Read a log with one question per line. The results of its run are in a file with the same time."""
    result_files = sorted(path.parent.glob(f"*_{time}.json"))
    results = _read_results(result_files[0]) if result_files else {}
    digest = hashlib.sha256()
    questions, in_doubt = lm_eval_samples.read(_lines(path, digest))
    run = _run(path, task, results)
    log = Log.of(path, digest.hexdigest(), run, questions, in_doubt)
    counts = (results.get("n-samples") or {}).get(task)
    count = counts.get("effective") if isinstance(counts, dict) else None
    if count not in (None, log.table.num_rows):
        raise ImportLogError(
            f"{path}: contains {log.table.num_rows} questions, but {result_files[0].name} counts {count}; both must"
            " be complete and from one run."
        )
    return log


def _lines(path: Path, digest: Any) -> Iterator[tuple[str, Any]]:
    """The value and the location of each line. The bytes that are read are added to ``digest``."""
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
                    f"{path}: line {number}: not valid JSON ({reason}), so the log is truncated or damaged; each line"
                    " must contain one complete question."
                ) from None


def _old_task(path: Path) -> tuple[str, Mapping[str, Any]]:
    """The task of a log in the old form, and the results of its run.

    Raises ImportLogError if there is none.
    """
    results_file = path.with_name("results.json")
    results = _read_results(results_file) if results_file.is_file() else {}
    tasks = [task for task in results.get("configs") or {} if path.stem.endswith(f"_{task}")]
    if not tasks:
        raise ImportLogError(
            f"{path}: not a log of lm-eval; its name must be samples_TASK_TIME.jsonl, or MODEL_TASK.jsonl beside the"
            " results.json of its run."
        )
    return max(tasks, key=len), results


def _of_array(path: Path, task: str, results: Mapping[str, Any]) -> Log:
    """Read a log in the old form, which is one array of questions."""
    questions, in_doubt = lm_eval_samples.read(_elements(path))
    return Log.of(path, files.sha256(path), _run(path, task, results), questions, in_doubt)


def _elements(path: Path) -> Iterator[tuple[str, Any]]:
    """The location and the value of each element of an array."""
    with text_files.opened(path) as file:
        for number, value in enumerate(json_values.array(path, file)):
            yield f"{path}: element {number}", value


def _read_results(path: Path) -> Mapping[str, Any]:
    """The results of a run. Raises ImportLogError if the file is broken."""
    try:
        results = json.loads(path.read_bytes())
    except ValueError:
        results = None
    if not isinstance(results, dict):
        raise ImportLogError(
            f"{path}: broken or truncated; must contain the results of a run as one JSON object."
        )
    for key in OBJECTS:
        if not isinstance(results.get(key) or {}, dict):
            raise ImportLogError(f"{path}: {key} is {results[key]!r}; must be an object.")
    return results


def _run(path: Path, task: str, results: Mapping[str, Any]) -> Run:
    """The run of a log, from its results file. If this does not name the model, the folder's name is used."""
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
