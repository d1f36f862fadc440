"""The workflow in a new folder: a user's own model is measured on the user's own questions."""

import json

import pandas as pd
import pytest
import yaml
from helpers import models, workflow

pytestmark = pytest.mark.apart

ASKED = {"en": ["tree", "house", "river"], "zh": ["树", "房子", "河"], "yo": ["igi", "ilé", "odò"]}


@pytest.fixture
def study(tmp_path):
    """A folder with a tiny model and questions in three languages, and the configuration of a study of two."""
    models.save("llama", tmp_path / "model")
    (tmp_path / "questions").mkdir()
    for language, words in ASKED.items():
        rows = [
            {
                "question_id": f"q{n}",
                "group": "g",
                "question": f"{n}?",
                "options": words,
                "gold": n % 3,
                "split": "test",
            }
            for n in range(12)
        ]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (tmp_path / "questions" / f"{language}.jsonl").write_text(text)
    config = {
        "study": "own",
        "models": {"tiny": {"path": "model", "dtype": "float32"}},
        "benchmarks": {"mine": {"path": "questions", "format": "file", "languages": ["en", "zh"]}},
        "protocols": {"letters-0shot": {"candidates": "letters"}, "texts-0shot": {"candidates": "texts"}},
        "grid": {
            "models": ["tiny"],
            "data": [],
            "recipes": [],
            "betas": [],
            "seeds": [],
            "benchmarks": ["mine"],
            "protocols": ["letters-0shot", "texts-0shot"],
        },
        "measure": {"bootstrap_samples": 50},
    }
    return tmp_path, config


def snakemake(folder, config, *words):
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    return workflow.snakemake(folder, *words, configuration=[folder / "study.yaml"])


def computed(folder):
    events = [json.loads(p.read_text()) for p in sorted((folder / "results/.events").iterdir())]
    return [(e["stage"], e["cell"].get("language")) for e in events if e["event"] == "computed"]


def test_only_what_changed_is_computed(study):
    folder, config = study
    ran = snakemake(folder, config)
    assert ran.returncode == 0, ran.stderr
    cells = pd.read_parquet(folder / "results/studies/own/cells.parquet")
    assert sorted(zip(cells.protocol, cells.language, strict=True)) == [
        (protocol, language) for protocol in ("letters-0shot", "texts-0shot") for language in ("en", "zh")
    ]
    assert (cells.n == 12).all()
    assert cells.accuracy.between(0, 1).all()
    assert (cells.ece_low <= cells.ece_high).all()
    assert len(pd.read_parquet(folder / "results/scores")) == 4 * 12
    first = computed(folder)

    again = snakemake(folder, config)
    assert again.returncode == 0
    assert "Nothing to be done" in again.stderr
    assert computed(folder) == first

    # with another language, and another number of languages per job, only the new cells are computed
    config["benchmarks"]["mine"]["languages"] = ["en", "yo", "zh"]
    config["languages_per_job"] = 3
    more = snakemake(folder, config)
    assert more.returncode == 0, more.stderr
    new = computed(folder)
    for event in first:
        new.remove(event)
    assert sorted(e for e in new if e[0] == "score") == [("score", "yo")] * 2
    assert {stage for stage, _ in new} == {
        "fetch_benchmark", "check_parallel", "score", "measure", "report",
    }  # fmt: skip

    # after a correction of one question, only its language is fetched and scored again
    file = folder / "questions/zh.jsonl"
    file.write_text(file.read_text().replace("树", "花"))
    before = computed(folder)
    corrected = snakemake(folder, config)
    assert corrected.returncode == 0, corrected.stderr
    new = computed(folder)
    for event in before:
        new.remove(event)
    assert sorted(e for e in new if e[1]) == [("fetch_benchmark", "zh"), *[("score", "zh")] * 2]
    assert sorted(stage for stage, language in new if not language) == [
        "check_parallel",
        "measure",
        "report",
    ]


def test_a_wrong_name_stops_before_anything_is_written(study):
    folder, config = study
    config["grid"]["benchmarks"] = ["mien"]
    ran = snakemake(folder, config)
    assert ran.returncode != 0
    assert "grid.benchmarks: 'mien' is not in the catalogue 'benchmarks'; did you mean 'mine'?" in ran.stderr
    assert not (folder / "results").exists()
    assert not (folder / "resources").exists()
