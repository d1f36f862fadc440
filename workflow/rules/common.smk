import atexit
import hashlib
import json
import os
import shlex
import shutil
import sys
import threading
from functools import partial
from pathlib import Path

import psutil
from snakemake.exceptions import WorkflowError

from polycal.analysis import (
    embedding_diversity,
    generation_table,
    group_tables,
    next_token_metrics,
)
from polycal.artifacts import checkpoints
from polycal.audit import holes
from polycal.data import sources
from polycal.report.captions import FIGURE_KINDS
from polycal.store import acceptances, code_versions
from polycal.store.stages import STAGES
from polycal.study import config_files, grid, identities, memory_needs, paths
from polycal.study.config_catalogues import Model
from polycal.study.config_files import ConfigError
from polycal.study.config_loading import resolve
from polycal.study.config_values import NAME
from polycal.vocabulary import CHECKPOINT_KEYS, NONE
from polycal.analysis.measure import table_names


def resolved(raw):
    """The checked configuration. An error is one sentence without a traceback."""
    try:
        # Snakemake has read these files already, but accepts a repeated key and takes its last value.
        for file in map(Path, workflow.configfiles):
            if file.is_file():
                config_files.read(file)
        return resolve(raw, local_files=True)
    except ConfigError as error:
        # A WorkflowError would add the file names and lines of this workflow, which say nothing about the error.
        raise SystemExit(f"polycal: {error}") from None


def planned_versions():
    """The code version of each stage with which this run plans its jobs, with acceptances applied.

    The Snakemake that runs in a job gets them from the main process, because the code may have been edited since.
    """
    if workflow.is_main_process or PLANNED not in os.environ:
        versions = {stage: acceptances.accepted_version(stage)[0] for stage in STAGES}
        os.environ[PLANNED] = json.dumps(versions)
    return json.loads(os.environ[PLANNED])


def version(stage):
    """The code version of a stage with which this run plans its jobs."""
    return VERSIONS[stage]


def refuse_the_papers_grid_on_one_machine():
    """Stop a plain ``snakemake``: without --configfile and a cluster it would train the paper's grid on this machine."""
    if workflow.local_exec and not workflow.config_settings.overwrite_config:
        finetuned = [path for path in grid.finetuned(STUDY_CONFIG) if "lr=" in path]
        raise WorkflowError(
            f"this would train {len(finetuned)} models and score {len(SCORES)} records of the paper's grid on this machine;"
            " run 'make demo' for the miniature or 'polycal plan' for the cost of the grid, or give a study with"
            " --configfile or a cluster with --profile."
        )


def refuse_too_little_memory():
    """Stop if a planned job of a base model needs more memory than is free on this machine, where it would run."""
    if not workflow.local_exec:
        return
    key_of = {"finetune": "training_memory_mb"}
    key_of |= dict.fromkeys(
        ("score", "generate", "embed", "cluster"), "scoring_memory_mb"
    )
    jobs = {
        (ENTAILMENT if kind == "cluster" else job.wildcards.model, key_of[kind])
        for job in workflow.dag.needrun_jobs()
        if (kind := job.rule.name.partition("_")[0]) in key_of
    }
    free = psutil.virtual_memory().available
    if problem := memory_needs.too_little(STUDY_CONFIG, jobs, free):
        raise WorkflowError(problem)


def take_controller_lock():
    """Lock this folder for this Snakemake process. Unlike Snakemake's own lock, it ends if the process is killed."""
    from polycal.store import locks

    # The path is absolute because Snakemake leaves the folder of --directory before it ends.
    lock = locks.acquire(
        "snakemake", Path(paths.CONTROLLER_LOCK).absolute(), wait=False
    )
    try:
        lock.__enter__()
    except locks.LockError as error:
        raise WorkflowError(str(error)) from None
    atexit.register(lock.__exit__, None, None, None)


def stop_timers():
    """End the timers after which Snakemake looks for further jobs (max-jobs-per-timespan): its process waits for them."""
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.cancel()


def results_of_study():
    """Every result of the grid's cells: base models, checkpoints and records."""
    models = grid.base_models(grid.blocks(STUDY_CONFIG))
    return [
        *(paths.MODEL.format(model=name, base_seed=seed) for name, seed in models),
        *grid.finetuned(STUDY_CONFIG),
        *map(str, [*SCORES, *EMBEDDED, *NEXT_TOKENS, *GENERATED, *CLUSTERED]),
    ]


def tables_of_holes():
    """The measured tables that list cells without a measured record."""
    return [f"{STUDY}/{table}.parquet" for table in TABLES if table.endswith("holes")]


def known_failed_results(wildcards):
    """The target of an empty job if there are failed or refused results when jobs are planned.

    Snakemake calls its hooks only if a job runs. The empty job makes it call ``end_with_failed_results``.
    """
    runs_jobs = workflow.executor_plugin is not None
    if not runs_jobs or workflow.dryrun or workflow.touch:
        return []
    Path(paths.FAILED).unlink(missing_ok=True)
    has_failed = holes.failed(results_of_study()) or holes.refused(tables_of_holes())
    return [paths.FAILED] if has_failed else []


def name_the_report():
    """Print where the page of the study is, if it was among the results of this run."""
    page = f"{STUDY}/report.html"
    if page in {str(file) for job in workflow.dag.jobs for file in job.output}:
        print(f"The report: {page}", file=sys.stderr)


def end_with_failed_results():
    """List the failed and refused results among the planned ones, and end with a non-zero exit status."""
    planned = {str(file) for job in workflow.dag.jobs for file in job.output}
    failures = holes.failed(path for path in results_of_study() if path in planned)
    failures |= holes.refused(table for table in tables_of_holes() if table in planned)
    if failures:
        raise WorkflowError(holes.failed_in_words(failures))


def list_missing_results():
    """After a run with failed jobs: list failed and missing results, and how to get a report without them."""
    results = results_of_study()
    if failures := holes.failed(results):
        print("failed results:", *holes.lines(failures), sep="\n", file=sys.stderr)
    missing = [path for path in results if not os.path.exists(path)]
    if missing:
        page = f"{PARTIAL_STUDY}/report.html"
        print(holes.missing_in_words(missing, page), file=sys.stderr)


def times_of(records):
    """A checksum of the modification times of the existing records."""
    times = {str(path): path.stat().st_mtime_ns for path in records if path.exists()}
    return hashlib.sha256(json.dumps(times).encode()).hexdigest()


def partial_probe_tables(study):
    """Shell commands that measure groups, and the existing embeddings, next tokens and answers, into the folder ``study``.

    If one fails, the report lacks its tables and the log contains the reason.
    """
    commands = [
        ("groups", GROUPED, identities.measure_groups(STUDY_CONFIG), []),
        (
            "embeddings",
            EMBEDDED,
            identities.measure_embeddings(STUDY_CONFIG),
            ["--measured", f"{study}/cells.parquet"],
        ),
        ("next-token", NEXT_TOKENS, identities.measure_next_token(STUDY_CONFIG), []),
        ("generation", GENERATED, identities.measure_generation(STUDY_CONFIG), []),
    ]
    shell = []
    for name, files, cell, options in commands:
        if any(os.path.exists(file) for file in files):
            command = [
                "polycal",
                f"measure-{name}",
                "--partial",
                "--cell",
                cell,
                *options,
            ]
            command += ["--cache-dir", paths.CACHE, "--out", study]
            shell.append(
                f"{{ {shlex.join(command)} || echo 'no tables of {name}'; }} && "
            )
    return "".join(shell)


def source_of(entry, language="", base_seed=""):
    """The files that a model, data set or benchmark is read from: the manifest of what the workflow builds, or local files.

    ``resolved`` has checked that the local files of the grid exist.
    """
    if entry.miniature is not None:
        if isinstance(entry, Model):
            return paths.MINIATURE_MODEL.format(
                architecture=entry.miniature, base_seed=base_seed
            )
        return paths.MINIATURE_DATA
    if getattr(entry, "generated", None) is not None:
        return paths.WORLD_MANIFEST
    if entry.path is None:
        return []
    location = Path(entry.path).expanduser()
    if isinstance(entry, Model):
        files = checkpoints.parts(location)
    else:
        files = sources.local_files(location, language)
    return [str(file) for file in files]


def base(wildcards):
    """The configuration of a job's base model."""
    return STUDY_CONFIG.models[wildcards.model]


def questions_of(benchmark):
    """The questions of a benchmark in every language that is asked."""
    return expand(
        paths.QUESTIONS, benchmark=benchmark, language=LANGUAGES_OF[benchmark]
    )


def question(wildcards):
    """The question that a figure answers, which is its category in Snakemake's report."""
    return FIGURE_KINDS[wildcards.kind].question


def score_cells(wildcards, benchmark, languages):
    """The cells of one scoring job."""
    names = {key: wildcards[key] for key in (*CHECKPOINT_KEYS, "protocol")}
    return identities.score(STUDY_CONFIG, languages, benchmark=benchmark, **names)


def generation_cells(wildcards, benchmark, languages):
    """The cells of one job that generates answers."""
    names = {key: wildcards[key] for key in CHECKPOINT_KEYS}
    return identities.generate(STUDY_CONFIG, languages, benchmark=benchmark, **names)


def cluster_cells(wildcards, benchmark, languages):
    """The cells of one job that clusters answers."""
    names = {key: wildcards[key] for key in CHECKPOINT_KEYS}
    return identities.cluster(STUDY_CONFIG, languages, benchmark=benchmark, **names)


# Jobs call polycal by name. It is beside the Python that runs Snakemake, which need not be on the PATH.
if shutil.which("polycal") is None:
    os.environ.update(
        PATH=os.pathsep.join([*os.get_exec_path(), str(Path(sys.executable).parent)])
    )

# An environment variable, which jobs inherit.
PLANNED = "POLYCAL_PLANNED_VERSIONS"
VERSIONS = planned_versions()
STUDY_CONFIG = resolved(config)
STUDY = paths.STUDY.format(study=STUDY_CONFIG.study)
PARTIAL_STUDY = paths.PARTIAL_STUDY.format(study=STUDY_CONFIG.study)
MEASURE_CELL = json.loads(identities.measure(STUDY_CONFIG))
SCORES = grid.score_records(MEASURE_CELL)
GROUPED = grid.grouped_records(json.loads(identities.measure_groups(STUDY_CONFIG)))
EMBEDDED = grid.embedding_records(
    json.loads(identities.measure_embeddings(STUDY_CONFIG))
)
NEXT_TOKENS = grid.next_token_records(
    json.loads(identities.measure_next_token(STUDY_CONFIG))
)
GENERATION_CELL = json.loads(identities.measure_generation(STUDY_CONFIG))
GENERATED = grid.generation_records(GENERATION_CELL)
ENTAILMENT = grid.entailment_model(STUDY_CONFIG)
CLUSTERED = grid.cluster_records(GENERATION_CELL)
REPORT_CELL = identities.report(STUDY_CONFIG, acceptances.active_acceptances())
MEASURED = table_names(MEASURE_CELL)
TABLES = [
    *MEASURED,
    *(group_tables.TABLES if GROUPED else []),
    *(embedding_diversity.TABLES if EMBEDDED else []),
    *(next_token_metrics.TABLES if NEXT_TOKENS else []),
    *(generation_table.TABLES if GENERATED else []),
]
BATCHES = grid.batches(STUDY_CONFIG)
LANGUAGES_OF = grid.asked_languages(STUDY_CONFIG)
PARALLEL = grid.parallel_checks(grid.scored_languages(STUDY_CONFIG))
PAGE = {
    "caption": "../report/study.rst",
    "category": "What did tuning and smoothing change?",
}
