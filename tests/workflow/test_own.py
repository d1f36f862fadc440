"""The overlays of config/own over another study: they add what they name and nothing else, and they run."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from helpers import models, workflow

from polycal.artifacts import records
from polycal.study import config_loading, grid

pytestmark = pytest.mark.apart

ROOT = Path(__file__).parents[2]
OWN = ROOT / "config/own"
BASE = [ROOT / "config/languages.yaml", ROOT / "config/mini.yaml"]


def cells(*overlays):
    found = grid.cells(
        grid.blocks(config_loading.load([*BASE, *(OWN / f"{name}.yaml" for name in overlays)]))
    )
    return {field: {getattr(c, field) for c in found} for field in ("model", "data", "benchmark", "language")}


def test_an_overlay_changes_what_it_names_and_nothing_else():
    whole = cells()
    assert cells("model") == {**whole, "model": {"own"}}
    assert cells("untuned") == {**whole, "model": {"own"}, "data": {"none"}}
    assert cells("data") == {**whole, "data": {"none", "own"}}
    assert cells("benchmark") == {**whole, "benchmark": {"own"}, "language": {"en", "fr"}}
    assert cells("language") == {**whole, "benchmark": {"own"}, "language": {"en", "eo"}}


@pytest.mark.parametrize("path", sorted(OWN.glob("*.yaml")), ids=lambda path: path.stem)
def test_an_overlay_is_five_lines(path):
    assert len([line for line in path.read_text().splitlines() if line.strip()]) <= 5


@pytest.fixture
def folder(tmp_path):
    """A small study, and the files that the overlays name, in the formats that their README shows."""
    readme = (OWN / "README.md").read_text()
    talk = json.loads(re.search(r"```json\n(.*?)\n```", readme, re.DOTALL)[1])
    header, row = re.search(r"```csv\n(.*?)\n```", readme, re.DOTALL)[1].splitlines()
    models.save("llama", tmp_path / "my-model")
    (tmp_path / "my-conversations.jsonl").write_text(f"{json.dumps(talk)}\n" * 8)
    rows = [row.replace("1,en", f"{n},{language}", 1) for language in ("en", "fr") for n in range(6)]
    (tmp_path / "my-questions.csv").write_text("\n".join([header, *rows]) + "\n")
    (tmp_path / "my-questions").mkdir()
    for language, question in {"en": "What is {}?", "eo": "Kio estas {}?"}.items():
        asked = [
            {"question_id": n, "question": question.format(n), "options": [str(n), str(n + 1)], "gold": 0}
            for n in range(6)
        ]
        lines = "".join(json.dumps(one) + "\n" for one in asked)
        (tmp_path / "my-questions" / f"{language}.jsonl").write_text(lines)
    study = {
        "study": "below",
        "models": {"other": {"path": "not-there"}},
        "data": {"other": {"path": "not-there", "format": "alpaca"}},
        "benchmarks": {"other": {"path": "not-there", "format": "mmlu-prox", "languages": ["en"]}},
        "recipes": {
            "brief": {
                "learning_rates": [0.01], "epochs": 1, "global_batch_size": 4, "micro_batch_size": 4, "warmup_ratio": 0,
                "max_length": 128, "precision": "float32",
            }
        },
        "protocols": {"letters-0shot": {"candidates": "letters"}},
        "grid": {
            "models": ["other"], "data": ["other"], "recipes": ["brief"], "betas": [0.1], "seeds": [1],
            "benchmarks": ["other"], "protocols": ["letters-0shot"],
            "extra": [{"protocols": ["letters-0shot"], "data": []}],
        },
        "languages_per_job": 2,
        "measure": {"bootstrap_samples": 20},
    }  # fmt: skip
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    return tmp_path


def run(folder, *overlays):
    files = [folder / "study.yaml", *(OWN / f"{name}.yaml" for name in overlays)]
    ran = workflow.snakemake(folder, configuration=files)
    assert ran.returncode == 0, ran.stderr


def test_own_model_data_benchmark_and_language_run(folder):
    run(folder, "data", "model", "benchmark")
    found = pd.read_parquet(folder / "results/studies/own-benchmark/cells.parquet")
    assert set(zip(found.model, found.data, found.language, strict=True)) == {
        ("own", data, language) for data in ("none", "own") for language in ("en", "fr")
    }
    assert (found.n == 6).all()
    assert records.metadata(folder / "resources/instructions/own.parquet")["conversations"] == 8

    run(folder, "untuned", "language")
    found = pd.read_parquet(folder / "results/studies/own-language/cells.parquet")
    assert set(zip(found.data, found.language, found.resource, strict=True)) == {
        ("none", "en", "high"),
        ("none", "eo", "low"),
    }
    assert found.accuracy.between(0, 1).all()
