"""Import of logs that the real lm-evaluation-harness writes, against its own results for the same tiny models.

``make test-thorough`` installs the harness of ``benchmarks/scoring.txt`` and runs these tests.
"""

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import models

from polycal.analysis import run_comparison, score_arrays
from polycal.artifacts import records
from polycal.data.importers import task_names
from polycal.data.importers.logged_questions import ImportLogError
from polycal.data.importers.score_records import Names, import_logs

HARNESS = Path(__file__).parents[3] / ".cache/bench/scoring"
pytestmark = pytest.mark.skipif(
    not (HARNESS / "lm_eval").is_dir(),
    reason="lm-evaluation-harness is not installed; make test-thorough installs it",
)

WORDS = ("tree", "house", "riverbank", "stone", "cloud", "дерево", "水")
TASK = """
task: {task}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: {kind}
doc_to_text: "{{{{question}}}}\\nAnswer:"
doc_to_choice: {options}
doc_to_target: {target}
metric_list: [{metrics}]
"""
TASKS = {
    # task: options, target, metrics
    "belebele_deu_Latn": ("letters", "answer", ("acc", "acc_norm")),
    "xcopa_et": ("options", "gold", ("acc", "acc_norm", "acc_bytes")),
    "xnli_bg": ("options", "right", ("acc", "acc_mutual_info")),
    "hellaswag_da": ("numbers", "gold", ("acc",)),
}
RUN = """
import json, sys
import yaml
from pathlib import Path
import lm_eval
from lm_eval.loggers import EvaluationTracker
model, out, shots, tasks = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]
results = lm_eval.simple_evaluate(
    model="hf",
    model_args={"pretrained": model, "dtype": "float32"},
    tasks=[yaml.safe_load(Path(task).read_text()) for task in tasks],
    num_fewshot=shots, batch_size=4, device="cpu", bootstrap_iters=0, log_samples=True,
)
tracker = EvaluationTracker(output_path=out)
tracker.general_config_tracker.model_name = model
tracker.general_config_tracker.model_name_sanitized = Path(model).name
samples = results.pop("samples")
logprob = {
    task: [[answer[0][0] for answer in line["resps"]] for line in sorted(lines, key=lambda line: line["doc_id"])]
    for task, lines in samples.items()
}
tracker.save_results_aggregated(results=results, samples=samples)
for task, lines in samples.items():
    tracker.save_results_samples(task_name=task, samples=lines)
Path(out, "returned.txt").write_text(json.dumps({"logprob": logprob, "results": results["results"]}))
"""


def questions(count: int) -> list[dict[str, Any]]:
    """Questions with three to five options, with the columns of all tasks."""
    rng, rows = random.Random(3), []
    for number in range(count):
        size = 3 + number % 3
        gold = rng.randrange(size)
        options = rng.sample(WORDS, size)
        rows.append(
            {
                "question": f"What is {rng.randrange(1000)}?",
                "options": options,
                "letters": list("ABCDE"[:size]),
                "numbers": [str(1 + (number + index) % size) for index in range(size)],
                "gold": gold,
                "answer": "ABCDE"[gold],
                "right": options[gold],
            }
        )
    return rows


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the logs of two models, and the results that the harness returned."""
    folder = tmp_path_factory.mktemp("harness")
    data = folder / "questions.jsonl"
    data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in questions(40)))
    tasks = []
    for task, (options, target, metrics) in TASKS.items():
        listed = ", ".join(f"{{metric: {name}}}" for name in metrics)
        values = {"task": task, "data": data, "kind": "multiple_choice", "options": options, "target": target}
        tasks.append(folder / f"{task}.yaml")
        tasks[-1].write_text(TASK.format(**values, metrics=listed))
    generated = folder / "generated.yaml"
    generated.write_text(
        TASK.format(
            task="mmlu_prox_de_law",
            data=data,
            kind="generate_until",
            options="null",
            target="answer",
            metrics="{metric: exact_match}",
        )
        + "generation_kwargs: {until: ['\\n'], max_gen_toks: 4}\n"
    )
    for architecture in ("llama", "mistral"):
        models.save(architecture, folder / architecture)
        evaluate(folder / architecture, folder / "logs" / architecture, 0, tasks)
    evaluate(folder / "llama", folder / "generated", 0, [generated])
    return folder


def evaluate(model: Path, out: Path, shots: int, tasks: list[Path]) -> None:
    """Run the harness in a process with its own libraries."""
    out.mkdir(parents=True)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(out), "PYTHONPATH": str(HARNESS)}
    command = [sys.executable, "-c", RUN, str(model), str(out), str(shots), *map(str, tasks)]
    process = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert process.returncode == 0, process.stderr[-3000:]


@pytest.fixture(scope="module")
def imported(harness: Path) -> dict[tuple[str, str], Path]:
    """The records of both models by model and benchmark."""
    paths = import_logs("lm-eval", harness / "logs", harness / "records", Names())
    cells = {path: records.metadata(path)["cell"] for path in paths}
    return {(cell["model"], cell["benchmark"]): path for path, cell in cells.items()}


@pytest.mark.parametrize("model", ["llama", "mistral"])
@pytest.mark.parametrize("task", TASKS)
def test_every_log_likelihood_is_that_of_the_harness(
    harness: Path, imported: dict[tuple[str, str], Path], model: str, task: str
) -> None:
    returned = json.loads((harness / "logs" / model / "returned.txt").read_text())
    path = imported[model, task.split("_")[0]]
    rows = records.read_scores(path).to_pylist()
    logprob = returned["logprob"][task]
    assert len(rows) == len(logprob) == 40
    has_pmi = "acc_mutual_info" in TASKS[task][2]
    assert [
        row["option_logprob"] + (row[records.UNCONDITIONAL] if has_pmi else []) for row in rows
    ] == logprob
    assert [row["gold"] for row in rows] == [row["gold"] for row in questions(40)]
    scored, results = score_arrays.read(path), returned["results"][task]
    # Harness and record count the bytes of an option without the delimiter.
    for metric, normalise in (("acc", "sum"), ("acc_bytes", "byte"), ("acc_mutual_info", "pmi")):
        if metric in TASKS[task][2]:
            right = scored.log_probabilities(normalise).argmax(1) == scored.gold
            assert np.mean(right) == pytest.approx(results[f"{metric},none"], abs=1e-12)
    assert scored.tokens is None


def test_the_origin_is_that_of_the_run(harness: Path, imported: dict[tuple[str, str], Path]) -> None:
    metadata = records.metadata(imported["llama", "belebele"])
    cell, origin = metadata["cell"], metadata["origin"]
    assert (cell["protocol"], cell["language"]) == ("letters-0shot", "de")
    pinned = (Path(__file__).parents[3] / "benchmarks/scoring.txt").read_text()
    assert f"lm-eval=={origin['version']}\n" in pinned
    assert origin["model"] == str(harness / "llama")
    assert origin["logs"][0]["num_fewshot"] == 0


def test_two_runs_are_compared_on_the_same_questions(imported: dict[tuple[str, str], Path]) -> None:
    measured = run_comparison.measure_files(list(imported.values()), "sum")
    table = run_comparison.differences(measured, "llama")
    assert set(table.run) == {"mistral"}
    assert set(table.benchmark) == {"belebele", "xcopa", "xnli", "hellaswag"}


def test_a_task_that_generates_text_is_refused(harness: Path) -> None:
    with pytest.raises(ImportLogError, match=r"samples_mmlu_prox_de_law_.*: line 1: .* generates text"):
        import_logs("lm-eval", harness / "generated", harness / "none", Names())
    assert not (harness / "none").exists()


def test_names_of_the_harness_are_recognised_and_differ_from_each_other() -> None:
    names = {
        name.strip("\"'")
        for path in (HARNESS / "lm_eval/tasks").rglob("*.yaml")
        for name in re.findall(r"^task: +(\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    recognised = {name: task_names.recognise(name) for name in names}
    known = [name for name in recognised.values() if name is not None]
    assert len(set(known)) == len(known)
    languages: dict[str, set[str]] = {name.benchmark: set() for name in known}
    for name in known:
        languages[name.benchmark].add(name.language)
    assert len(languages["global-mmlu"]) == 42
    assert len(languages["mmlu-prox"]) == 29
    assert len(languages["belebele"]) >= 120
    assert {"de", "zh", "sw"} <= languages["m-mmlu"] | languages["xcopa"]
