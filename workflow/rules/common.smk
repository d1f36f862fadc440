import atexit
import json
import os
from functools import partial
from pathlib import Path

from snakemake.exceptions import WorkflowError

from polycal.analysis import embedding_diversity, next_token_metrics
from polycal.artifacts import checkpoints
from polycal.data import sources
from polycal.report.captions import FIGURE_KINDS
from polycal.store import acceptances, code_versions
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


def version(stage):
    """The version of a stage's code, after acceptances."""
    return acceptances.accepted_version(stage)[0]


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

    lock = locks.acquire("snakemake", Path(paths.CONTROLLER_LOCK), wait=False)
    try:
        lock.__enter__()
    except locks.LockError as error:
        raise WorkflowError(str(error)) from None
    atexit.register(lock.__exit__, None, None, None)


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
