import os
from functools import partial

from snakemake.exceptions import WorkflowError

from polycal import grid, versions
from polycal.config import NAME, ConfigError, Model, resolve
from polycal.statistics import TABLES


def resolved(raw):
    """The configuration, or what is wrong with it in a sentence and no traceback."""
    try:
        return resolve(raw)
    except ConfigError as error:
        raise WorkflowError(str(error)) from None


def version(stage):
    """The class of a stage's code, after acceptances."""
    return versions.code_class(stage)[0]


def source_of(entry):
    """What has to be built before a model, data set or benchmark can be fetched: miniatures only."""
    if entry.miniature is None:
        return []
    if isinstance(entry, Model):
        return grid.MINIATURE_MODEL.format(architecture=entry.miniature)
    return grid.MINIATURE_DATA


def questions_of(benchmark):
    """The questions of a benchmark in all languages that the grid asks for."""
    return [
        grid.QUESTIONS.format(benchmark=benchmark, language=language)
        for name, _, languages in BATCHES
        if name == benchmark
        for language in languages
    ]


STUDY_CONFIG = resolved(config)
STUDY = grid.STUDY.format(study=STUDY_CONFIG.study)
PRODUCTS = grid.products(STUDY_CONFIG)
BATCHES = grid.batches(STUDY_CONFIG)
# one language has nothing to be parallel to
PARALLEL = [b for b in {name: 0 for name, _, _ in BATCHES} if len(questions_of(b)) > 1]
