"""The cells of a study without a result, and what the page, the tables and the figures say about them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from polycal.report import study_tables
from polycal.report.study_tables import BetaSweep, StudyTables
from polycal.vocabulary import CELL_KEYS, NONE

FAILED = "failed"
"""The text in tables and figures in place of a value that lacks a cell."""
KINDS = {
    "holes": ("cells", "cells"),
    "embedding_holes": ("embeddings", "diversity"),
    "next_token_holes": ("next-token scores", "next_token"),
    "generation_holes": ("generated answers", "generation"),
}
"""For each table of holes: what is missing, and the table with one row for each that exists."""
COLUMNS = ("kind", *CELL_KEYS, "resource", "stage", "reason")


def of_study(study: StudyTables) -> pd.DataFrame:
    """Every hole of the study, with COLUMNS; ``kind`` is what is missing."""
    parts = [study.get(name).assign(kind=kind) for name, (kind, _) in KINDS.items() if len(study.get(name))]
    # embeddings and next tokens have no resource level
    return pd.concat(parts).reindex(columns=list(COLUMNS)) if parts else pd.DataFrame(columns=COLUMNS)


def of_scores(study: StudyTables, benchmark: str, protocol: str) -> pd.DataFrame:
    """The cells of a benchmark and protocol without a result."""
    return _chosen(of_study(study), kind="cells", benchmark=benchmark, protocol=protocol)


def of_sweep(study: StudyTables, sweep: BetaSweep, table: str = "holes") -> pd.DataFrame:
    """The cells of a sweep and of its base model without a result, from a table of KINDS."""
    if not len(study.get(table)):
        return of_study(study)[:0]
    return study.rows(table, sweep).assign(kind=KINDS[table][0]).reindex(columns=list(COLUMNS))


def of_model(study: StudyTables, model: str, benchmark: str, protocol: str) -> pd.DataFrame:
    """The cells of a model without a result: of its base model and of β = 0."""
    holes = _chosen(of_scores(study, benchmark, protocol), model=model)
    return holes[holes.beta.isin([NONE, "0"])]


def of_embeddings(study: StudyTables, benchmark: str) -> pd.DataFrame:
    """The cells of a benchmark without embeddings or without an ECE."""
    return _chosen(of_study(study), kind="embeddings", benchmark=benchmark)


def of_next_tokens(study: StudyTables, heldout: str) -> pd.DataFrame:
    """The checkpoints without next-token scores on the held-out conversations of a data set."""
    return _chosen(of_study(study), kind="next-token scores", benchmark=heldout)


def _chosen(holes: pd.DataFrame, **keys: str) -> pd.DataFrame:
    for key, value in keys.items():
        holes = holes[holes[key] == value]
    return holes


def counts(study: StudyTables) -> list[str]:
    """How much is missing, such as "2 of 12 cells"; empty if nothing is."""
    sentences = []
    for name, (kind, measured) in KINDS.items():
        if lost := len(study.get(name)):
            there = study.get(measured)
            if name == "next_token_holes":
                there = there[there.language == "all"]
            keys = list(CELL_KEYS)
            grid = pd.concat([there[keys], study.get(name)[keys]]).drop_duplicates()
            sentences.append(f"{lost} of {len(grid)} {kind}")
    return sentences


def grouped(holes: pd.DataFrame, several: Sequence[str]) -> list[dict[str, str]]:
    """Holes with the same reason together: kind, checkpoint, how it was scored, languages, stage, reason.

    ``several`` are those of base seed, recipe and seed that the name of a checkpoint contains.
    """
    keys = [key for key in ("kind", *CELL_KEYS, "stage", "reason") if key != "language"]
    rows = []
    for names, part in holes.groupby(keys, sort=False):
        row = dict(zip(keys, map(str, names), strict=True))
        languages = ", ".join(code for code in part.language if code != "all")
        rows.append({**row, "name": ", ".join(_words(row, several)), "languages": languages})
    return rows


def _words(row: Mapping[str, str], several: Sequence[str]) -> Iterator[str]:
    yield row["model"]
    if row["data"] != NONE:
        yield row["data"]
    for key in several:
        if row[key] != NONE:
            yield f"{key.replace('_', ' ')} {row[key]}"
    yield study_tables.setting_name(row["beta"])


def reasons(holes: pd.DataFrame, row: Mapping[Any, Any]) -> str:
    """The holes that can prevent a value in a row of Table 1 or of the table of data sets, in words.

    They are the holes of its checkpoint, of the same checkpoint with β = 0, and of the other data set
    (``reference``).
    """
    chosen = holes[holes.kind == "cells"]
    for key in ("model", "base_seed", "recipe", "benchmark", "protocol"):
        chosen = chosen[chosen[key] == row[key]]
    if row["seed"] != "all":
        chosen = chosen[chosen.seed == row["seed"]]
    chosen = chosen[chosen.data.isin([row["data"], row.get("reference")])]
    chosen = chosen[chosen.beta.isin([row["beta"], *(["0"] if row["beta"] != NONE else [])])]
    return " ".join(
        f"{study_tables.setting_name(group['beta'])}, {group['languages']}: {group['reason']}"
        for group in grouped(chosen, ())
    )
