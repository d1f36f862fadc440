import atexit
import hashlib
import json
import os
import shlex
import sys
from functools import partial
from pathlib import Path

from snakemake.exceptions import WorkflowError

from polycal.analysis import embedding_diversity, next_token_metrics
from polycal.artifacts import checkpoints
from polycal.audit import holes
from polycal.data import sources
from polycal.report.captions import FIGURE_KINDS
from polycal.store import acceptances, code_versions
from polycal.store.stages import STAGES
from polycal.study import config_files, grid, identities, paths
from polycal.study.config_catalogues import Model
from polycal.study.config_files import ConfigError
from polycal.study.config_loading import resolve
from polycal.study.config_values import NAME
from polycal.vocabulary import CHECKPOINT_KEYS
from polycal.analysis.measure import table_names


def resolved(raw):
    """The configuration, or what is wrong with it in a sentence without a traceback."""
    try:
        # Snakemake has read these files already, but takes the last value of a key that is there twice.
        for file in map(Path, workflow.configfiles):
            if file.is_file():
                config_files.read(file)
        return resolve(raw, local_files=True)
    except ConfigError as error:
        raise WorkflowError(str(error)) from None


def planned_versions():
    """Stage → version of its code, after acceptances, with which this run plans its jobs.

    A job's own Snakemake takes them from the run's: the code may have been edited since.
    """
    if workflow.is_main_process or PLANNED not in os.environ:
        versions = {stage: acceptances.accepted_version(stage)[0] for stage in STAGES}
        os.environ[PLANNED] = json.dumps(versions)
    return json.loads(os.environ[PLANNED])


def version(stage):
    """The planned version of a stage's code."""
    return VERSIONS[stage]


def refuse_the_papers_grid_on_one_machine():
    """Stop a bare ``snakemake``: without a study and without a cluster it would train the paper's grid here."""
    if workflow.local_exec and not workflow.config_settings.overwrite_config:
        finetuned = [path for path in grid.finetuned(STUDY_CONFIG) if "lr=" in path]
        raise WorkflowError(
            f"this would run {len(finetuned)} trainings and score {len(SCORES)} records of the paper's grid on this machine."
            " Run 'make demo' for the miniature, 'polycal plan' for the cost of the grid, or name a study with"
            " --configfile or a cluster with --profile."
        )


def take_controller_lock():
    """Let one Snakemake at a time work in this folder. Unlike Snakemake's lock, that of a killed process is released."""
    from polycal.store import locks

    # absolute: at its end Snakemake leaves the working directory that --directory names
    lock = locks.acquire(
        "snakemake", Path(paths.CONTROLLER_LOCK).absolute(), wait=False
    )
    try:
        lock.__enter__()
    except locks.LockError as error:
        raise WorkflowError(str(error)) from None
    atexit.register(lock.__exit__, None, None, None)


def results_of_study():
    """Every result that one cell of the grid needs: base models, checkpoints and records."""
    models = grid.base_models(grid.blocks(STUDY_CONFIG))
    return [
        *(paths.MODEL.format(model=name, base_seed=seed) for name, seed in models),
        *grid.finetuned(STUDY_CONFIG),
        *map(str, [*SCORES, *EMBEDDED, *NEXT_TOKENS]),
    ]


def tables_of_holes():
    """The measured tables that list the cells whose records were not measured."""
    return [f"{STUDY}/{table}.parquet" for table in TABLES if table.endswith("holes")]


def known_failed_results(wildcards):
    """A file that is never there, if there are failed or refused results when jobs are planned.

    Where nothing is to be done, Snakemake ends well and without its hooks; one empty job takes it to
    ``end_with_failed_results``.
    """
    runs = workflow.executor_plugin is not None
    if not runs or workflow.dryrun or workflow.touch:
        return []
    Path(paths.FAILED).unlink(missing_ok=True)
    found = holes.failed(results_of_study()) or holes.refused(tables_of_holes())
    return [paths.FAILED] if found else []


def end_with_failed_results():
    """Name the failed and refused results behind this run's targets, and end with an exit status that is not 0."""
    planned = {str(file) for job in workflow.dag.jobs for file in job.output}
    found = holes.failed(path for path in results_of_study() if path in planned)
    found |= holes.refused(table for table in tables_of_holes() if table in planned)
    if found:
        raise WorkflowError(holes.failed_in_words(found))


def say_what_is_missing():
    """Name what is missing and what failed after a run in which jobs failed, and how to go on without it."""
    results = results_of_study()
    if found := holes.failed(results):
        print("failed results:", *holes.lines(found), sep="\n", file=sys.stderr)
    missing = [path for path in results if not os.path.exists(path)]
    if missing:
        page = f"{STUDY}-partial/report.html"
        print(holes.missing_in_words(missing, page), file=sys.stderr)


def times_of(records):
    """A checksum of the times of those records that exist."""
    times = {str(path): path.stat().st_mtime_ns for path in records if path.exists()}
    return hashlib.sha256(json.dumps(times).encode()).hexdigest()


def further_partial_tables(study):
    """The commands that measure what there is of embeddings and next tokens into the folder ``study``.

    Where they fail, the page has no such tables, and the log says why.
    """
    commands = [
        (
            "embeddings",
            EMBEDDED,
            identities.measure_embeddings(STUDY_CONFIG),
            ["--measured", f"{study}/cells.parquet"],
        ),
        ("next-token", NEXT_TOKENS, identities.measure_next_token(STUDY_CONFIG), []),
    ]
    words = []
    for name, files, cell, further in commands:
        if any(os.path.exists(file) for file in files):
            command = [
                "polycal",
                f"measure-{name}",
                "--partial",
                "--cell",
                cell,
                *further,
            ]
            command += ["--cache-dir", paths.CACHE, "--out", study]
            words.append(
                f"{{ {shlex.join(command)} || echo 'no tables of {name}'; }} && "
            )
    return "".join(words)


def source_of(entry, language="", base_seed=""):
    """The files that a model, data set or benchmark is made from: of the miniature, or local files.

    Local files of the grid exist: ``resolved`` refuses a configuration without them.
    """
    if entry.miniature is not None:
        if isinstance(entry, Model):
            return paths.MINIATURE_MODEL.format(
                architecture=entry.miniature, base_seed=base_seed
            )
        return paths.MINIATURE_DATA
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
    """The questions of a benchmark in all languages that the grid scores."""
    return expand(
        paths.QUESTIONS, benchmark=benchmark, language=LANGUAGES_OF[benchmark]
    )


def question(wildcards):
    """The question that a figure answers: its category in Snakemake's report."""
    return FIGURE_KINDS[wildcards.kind].question


def score_cells(wildcards, benchmark, languages):
    """What determines the records of one scoring job."""
    names = {key: wildcards[key] for key in (*CHECKPOINT_KEYS, "protocol")}
    return identities.score(STUDY_CONFIG, languages, benchmark=benchmark, **names)


# jobs inherit this variable
PLANNED = "POLYCAL_PLANNED_VERSIONS"
VERSIONS = planned_versions()
STUDY_CONFIG = resolved(config)
STUDY = paths.STUDY.format(study=STUDY_CONFIG.study)
MEASURE_CELL = json.loads(identities.measure(STUDY_CONFIG))
SCORES = grid.score_records(MEASURE_CELL)
EMBEDDED = grid.embedding_records(
    json.loads(identities.measure_embeddings(STUDY_CONFIG))
)
NEXT_TOKENS = grid.next_token_records(
    json.loads(identities.measure_next_token(STUDY_CONFIG))
)
REPORT_CELL = identities.report(STUDY_CONFIG, acceptances.active_acceptances())
MEASURED = table_names(MEASURE_CELL)
TABLES = [
    *MEASURED,
    *(embedding_diversity.TABLES if EMBEDDED else []),
    *(next_token_metrics.TABLES if NEXT_TOKENS else []),
]
BATCHES = grid.batches(STUDY_CONFIG)
LANGUAGES_OF = grid.scored_languages(STUDY_CONFIG)
# one language has nothing to be parallel to
PARALLEL = [name for name, languages in LANGUAGES_OF.items() if len(languages) > 1]
PAGE = {
    "caption": "../report/study.rst",
    "category": "What did tuning and smoothing change?",
}
