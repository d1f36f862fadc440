"""The miniature with one model, end to end. After an interrupt in any stage it finishes without repeating results."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import yaml
from helpers import workflow

from polycal.artifacts import records

ROOT = Path(__file__).parents[2]
LANGUAGES = ["en", "yo"]


def study(folder):
    """Write the configuration of the demo with one model, one data set, one benchmark and two languages."""
    configuration = yaml.safe_load((ROOT / "config/mini.yaml").read_text())
    configuration["miniature"] = {"languages": LANGUAGES, "questions": 40, "rows": 64}
    configuration["benchmarks"]["global-mmlu-mini"]["languages"] = LANGUAGES
    configuration["recipes"]["mini"]["epochs"] = 1
    configuration["grid"] |= {
        "models": ["llama-mini"], "data": ["alpaca-mini"], "betas": [0, 0.1], "benchmarks": ["global-mmlu-mini"],
        "extra": [],
    }  # fmt: skip
    configuration["measure"] = {"bootstrap_samples": 50}
    folder.mkdir()
    (folder / "study.yaml").write_text(yaml.safe_dump(configuration))
    return folder


def start(folder):
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--directory", str(folder)]
    command += [
        "--profile",
        str(ROOT / "profiles/local"),
        "--configfile",
        str(ROOT / "config/languages.yaml"),
    ]
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    return subprocess.Popen(
        [*command, str(folder / "study.yaml")],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip


def finish(folder):
    run = start(folder)
    said, _ = run.communicate(timeout=600)
    assert run.returncode == 0, said
    return said


def interrupt_in(folder, stage):
    """Run until a job of ``stage`` writes its log, then interrupt the run.

    The signal goes to all its processes, as Ctrl-C in a terminal does.
    """
    run = start(folder)
    end = time.monotonic() + 300
    while not any(path.stat().st_size for path in folder.glob(f"logs/{stage}/**/*.log")):
        assert run.poll() is None, run.stdout.read()
        assert time.monotonic() < end
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGINT)
    said, _ = run.communicate(timeout=120)
    assert run.returncode != 0, said


def computed(folder):
    """How often each result was computed, by stage and fingerprint.

    The report is listed without its fingerprint. It shows the costs of the study, so its fingerprint differs between
    two runs.
    """
    events = [json.loads(path.read_text()) for path in folder.glob("results/.events/*.json")]
    return Counter(
        (e["stage"], "" if e["stage"] == "report" else e["fingerprint"])
        for e in events
        if e["event"] == "computed"
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = study(tmp_path_factory.mktemp("undisturbed") / "study")
    words = ["--profile", str(ROOT / "profiles/local")]
    ran = workflow.snakemake(folder, *words, configuration=[folder / "study.yaml"])
    assert ran.returncode == 0, ran.stderr
    return folder


def test_interrupted_in_every_stage_it_finishes_and_repeats_nothing(undisturbed, tmp_path):
    folder = study(tmp_path / "study")
    for stage in ("miniature", "finetune", "score"):
        interrupt_in(folder, stage)
    finish(folder)
    assert computed(folder) == computed(undisturbed)
    assert set(computed(folder).values()) == {1}
    for table in ("cells", "means", "contrasts"):
        one, two = (
            pd.read_parquet(f / f"results/studies/mini/{table}.parquet") for f in (folder, undisturbed)
        )
        pd.testing.assert_frame_equal(one, two, check_exact=True)


def test_a_second_run_says_that_there_is_nothing_to_do(undisturbed):
    before = computed(undisturbed)
    assert "Nothing to be done" in finish(undisturbed)
    assert computed(undisturbed) == before


def test_all_scores_read_as_one_table_hold_each_record_once(undisturbed):
    scores = pd.read_parquet(undisturbed / "results/scores")
    keys = ["model", "data", "recipe", "beta", "seed", "benchmark", "protocol", "language"]
    assert not scores.duplicated([*keys, "question_id"]).any()
    assert len(scores) == 3 * len(LANGUAGES) * 40


def test_the_engine_and_its_steps_stand_in_the_manifest(undisturbed):
    manifests = sorted(undisturbed.glob("results/checkpoints/**/manifest.json"))
    assert len(manifests) == 2
    for path in manifests:
        manifest = json.loads(path.read_text())
        weights = path.parent / manifest["folder"]
        assert (manifest["engine"], manifest["zero_stage"], manifest["steps"]) == ("DeepSpeedEngine", 2, 2)
        assert (weights / "model.safetensors").stat().st_size == manifest["files"]["model.safetensors"][
            "bytes"
        ]
        assert len(pd.read_csv(weights.parent / "loss.csv")) == 2


def test_records_name_commit_and_fingerprint(undisturbed):
    path = next(undisturbed.glob("results/scores/**/scores.parquet"))
    manifest = records.metadata(path)
    assert len(manifest["fingerprint"]) == 64
    assert manifest["cell"]["language"] in LANGUAGES
