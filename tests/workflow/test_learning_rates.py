"""A workflow with two learning rates: the records are those of the selected one. Another list selects again."""

import json

import pytest
import yaml
from helpers import models, workflow

from polycal.artifacts import records

CELL = "model=tiny/base_seed=none/data=talks/recipe=brief/beta=0.1/seed=1"


@pytest.fixture
def study(tmp_path):
    models.save("llama", tmp_path / "model")
    talks = [{"instruction": f"say {n}", "input": "", "output": "yes " * (n % 3 + 1)} for n in range(24)]
    (tmp_path / "talks.jsonl").write_text("".join(json.dumps(talk) + "\n" for talk in talks))
    asked = [{"question_id": n, "question": f"{n}?", "options": ["a", "b"], "gold": n % 2} for n in range(6)]
    (tmp_path / "questions").mkdir()
    (tmp_path / "questions/en.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    batch = {"global_batch_size": 4, "micro_batch_size": 4}
    recipe = {"learning_rates": ["1e-2", "1e-9"], "epochs": 2, "warmup_ratio": 0, **batch}
    return tmp_path, {
        "study": "chosen",
        "models": {"tiny": {"path": "model", "dtype": "float32"}},
        "data": {"talks": {"path": "talks.jsonl", "format": "alpaca", "language": "en", "heldout": 0.25}},
        "benchmarks": {"asked": {"path": "questions", "format": "file", "languages": ["en"]}},
        "recipes": {"brief": {**recipe, "max_length": 128, "precision": "float32"}},
        "protocols": {"letters-0shot": {"candidates": "letters"}},
        "grid": {
            "models": ["tiny"], "data": ["talks"], "recipes": ["brief"], "betas": [0.1], "seeds": [1],
            "benchmarks": ["asked"], "protocols": ["letters-0shot"],
        },
        "measure": {"bootstrap_samples": 20},
    }  # fmt: skip


def run(folder, config, *words):
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    ran = workflow.snakemake(folder, *words, configuration=[folder / "study.yaml"])
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def computed(folder):
    events = [json.loads(path.read_text()) for path in sorted((folder / "results/.events").iterdir())]
    return [event["stage"] for event in events if event["event"] == "computed"]


def test_the_records_are_those_of_the_learning_rate_that_won(study):
    folder, config = study
    run(folder, config)
    checkpoints = folder / "results/checkpoints" / CELL
    chosen = json.loads((checkpoints / "selected.json").read_text())
    trained = {
        rate: json.loads((checkpoints / f"lr={rate}/manifest.json").read_text()) for rate in ("0.01", "1e-9")
    }
    # with a rate of 1e-9 the model hardly changes
    assert chosen["lr"] == "0.01"
    assert chosen["heldout_nll"] == {rate: said["heldout_nll"] for rate, said in trained.items()}
    assert trained["0.01"]["heldout_nll"] < trained["1e-9"]["heldout_nll"]
    scores = (
        folder / "results/scores" / CELL / "benchmark=asked/protocol=letters-0shot/language=en/scores.parquet"
    )
    assert records.metadata(scores)["reads"]["model"] == trained["0.01"]["content"]
    assert "Nothing to be done" in run(folder, config)

    # without the selected rate in the list, the other one is scored; nothing is selected or trained
    before = computed(folder)
    config["recipes"]["brief"]["learning_rates"] = ["1e-9"]
    run(folder, config)
    new = computed(folder)[len(before) :]
    assert sorted(set(new)) == ["measure", "report", "score"]
    assert records.metadata(scores)["reads"]["model"] == trained["1e-9"]["content"]
