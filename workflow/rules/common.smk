import atexit
import json
import os
from functools import partial
from pathlib import Path

from snakemake.exceptions import WorkflowError

from polycal.analysis import embedding_diversity, next_token_metrics
from polycal.artifacts import checkpoints
from polycal.data import sources
from polycal.store import acceptances, code_versions
from polycal.study import grid, identities, paths
from polycal.study.config_catalogues import Model
from polycal.study.config_loading import ConfigError, resolve
from polycal.study.config_values import NAME
from polycal.vocabulary import CHECKPOINT_KEYS
from polycal.analysis.measure import table_names


def resolved(raw):
    """The configuration, or what is wrong with it in a sentence and no traceback."""
    try:
        return resolve(raw)
    except ConfigError as error:
        raise WorkflowError(str(error)) from None


def version(stage):
    """The class of a stage's code, after acceptances."""
    return code_versions.code_class(stage)[0]


def only_controller():
    """Let one Snakemake at a time work in this folder; a killed one is no hindrance, as its own lock would be."""
    from polycal.store import locks

    folder = locks.hold("snakemake", Path(paths.CONTROLLER_LOCK), leave=True)
    try:
        folder.__enter__()
    except locks.LockError as error:
        raise WorkflowError(str(error)) from None
    atexit.register(folder.__exit__, None, None, None)


def source_of(entry, language="", base_seed=""):
    """What a model, data set or benchmark is made from: a miniature to be built, or files of one's own.

    Files that are not there are left to the job, which says so in a sentence.
    """
    if entry.miniature is not None:
        if isinstance(entry, Model):
            return paths.MINIATURE_MODEL.format(
                architecture=entry.miniature, base_seed=base_seed
            )
        return paths.MINIATURE_DATA
    if entry.path is None:
        return []
    place = Path(entry.path).expanduser()
    own = (
        checkpoints.parts(place)
        if isinstance(entry, Model)
        else sources.local_files(place, language)
    )
    return [str(file) for file in own]


def base(wildcards):
    """What the configuration says of a job's base model."""
    return STUDY_CONFIG.models[wildcards.model]


def questions_of(benchmark):
    """The questions of a benchmark in all languages that the grid asks for."""
    return expand(paths.QUESTIONS, benchmark=benchmark, language=SPOKEN[benchmark])


def question(wildcards):
    """The category of a figure in Snakemake's report."""
    return QUESTIONS.get(wildcards.kind, "Further figures")


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
SPOKEN = grid.scored_languages(STUDY_CONFIG)
# one language has nothing to be parallel to
PARALLEL = [name for name, languages in SPOKEN.items() if len(languages) > 1]
PAGE = {
    "caption": "../report/study.rst",
    "category": "What did tuning and smoothing change?",
}
# what a figure answers, by the first word of its name
QUESTIONS = {
    "overview": "Is every language over-confident?",
    "confidence": "Does confidence grow more than accuracy?",
    "beta": "What does smoothing change?",
    "tradeoff": "What does smoothing change?",
    "cure": "Does another cure do better?",
    "cures": "Does another cure do better?",
    "truth": "How far are the benchmarks themselves off?",
    "ece": "How well is each language calibrated?",
    "reliability": "How well is each language calibrated?",
}
