"""Snakemake as a process of its own: what it refuses, and how it ends."""

import os
import subprocess
import sys
from pathlib import Path

from helpers.world import ROOT

from polycal.study import paths
from polycal.vocabulary import CHECKPOINT_KEYS


def snakemake(folder, *arguments):
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), *arguments]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)


def test_a_study_or_a_cluster_has_to_be_named(tmp_path):
    (tmp_path / "config").symlink_to(ROOT / "config")
    ran = snakemake(tmp_path, "--cores", "1")
    assert ran.returncode == 1
    assert "would train 108 models and score 2130 records" in ran.stderr.replace("\n", " ")
    for way in ("make demo", "polycal plan", "--configfile", "--profile"):
        assert way in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "results/scores").exists()


def test_a_configuration_error_is_one_line_without_file_names_of_the_workflow(tmp_path):
    (tmp_path / "config").symlink_to(ROOT / "config")
    ran = snakemake(tmp_path, "--dry-run", "--cores", "1", "--config", "grid={modles: [x]}")
    assert ran.returncode == 1
    assert "polycal: grid.modles: unknown key; did you mean 'models'?\n" in ran.stderr
    assert ".smk" not in ran.stderr
    assert "Traceback" not in ran.stderr


def test_too_little_memory_is_said_before_any_job(tmp_path):
    (tmp_path / "config").symlink_to(ROOT / "config")
    overlay = tmp_path / "large.yaml"
    overlay.write_text("models: {llama-mini: {training_memory_mb: 900000000}}\n")
    configuration = ["--configfile", "config/mini.yaml", str(overlay)]
    ran = snakemake(tmp_path, "--cores", "1", *configuration)
    assert ran.returncode == 1
    said = " ".join(ran.stderr.split())
    assert "models.llama-mini.training_memory_mb: a job needs 900000.0 GB of memory, but" in said
    assert "free on this machine; use a machine with more memory or end other programs." in said
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "resources").exists()
    # where the jobs need no such memory, the same machine is enough
    alone = snakemake(tmp_path, "--cores", "1", *configuration, "--", "resources/world/world.json")
    assert alone.returncode == 0, alone.stderr


def test_too_little_memory_for_generated_answers_is_said_before_any_job(tmp_path):
    (tmp_path / "config").symlink_to(ROOT / "config")
    overlay = tmp_path / "large.yaml"
    overlay.write_text("models: {llama-mini: {scoring_memory_mb: 900000000}}\n")
    base = dict.fromkeys(CHECKPOINT_KEYS, "none") | {"model": "llama-mini", "base_seed": "0"}
    answers = paths.GENERATIONS.format(**base, benchmark="mkqa-mini", language="en")
    configuration = ["config/mini.yaml", "config/experiments/mini/generation.yaml", str(overlay)]
    ran = snakemake(tmp_path, "--cores", "1", "--configfile", *configuration, "--", answers)
    assert ran.returncode == 1
    assert "models.llama-mini.scoring_memory_mb: a job needs 900000.0 GB" in " ".join(ran.stderr.split())
    assert not (tmp_path / "resources").exists()


def test_a_run_by_its_path_finds_polycal_and_ends_with_its_last_job(tmp_path):
    """Snakemake would wait for its timers: 300 seconds here, and a minute with the profile of one machine."""
    (tmp_path / "config").symlink_to(ROOT / "config")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "1"]
    command += ["--configfile", "config/mini.yaml", "--max-jobs-per-timespan", "100/300s"]
    environment = {**os.environ, "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(
        [*command, "--", "resources/world/world.json"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment,
    ) as run:
        assert run.stderr is not None
        said = []
        for line in run.stderr:
            said.append(line)
            if line.startswith("Complete log"):
                break
        try:
            run.wait(timeout=200)
        finally:
            run.kill()
    assert run.returncode == 0, "".join(said)
