"""A section for the model card of each checkpoint, in Markdown: its calibration in every language."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from polycal.report.table_formats import markdown
from polycal.vocabulary import CHECKPOINT_KEYS, NONE

METRICS = {"accuracy": "Accuracy", "confidence": "Confidence", "gap": "Gap", "ece": "ECE"}
"""Metrics of the table, with their headings."""
WORDS = {
    "base_seed": "pre-training seed {}",
    "data": "tuned on {}",
    "recipe": "recipe {}",
    "beta": "label smoothing β = {}",
    "seed": "seed {}",
}


def sections(
    cells: pd.DataFrame, study: str, provenance: Mapping[str, Any], is_study: bool = True
) -> dict[str, str]:
    """The section of each checkpoint, by the name of its file.

    ``cells`` has the columns of the table cells. ``provenance`` has the settings and the commit of the
    measurement. Without ``is_study``, the cells are those of score records from anywhere: a model without
    details of a tuning may be tuned all the same.
    """
    return {
        "__".join(_safe(value) for value in key if value != NONE): _section(
            key, rows, study, provenance, is_study
        )
        for key, rows in cells.groupby(list(CHECKPOINT_KEYS), sort=True)
    }


def _safe(value: object) -> str:
    return re.sub(r"[^\w.+-]+", "-", str(value))


def _section(
    key: Iterable[object], rows: pd.DataFrame, study: str, provenance: Mapping[str, Any], is_study: bool
) -> str:
    named = dict(zip(CHECKPOINT_KEYS, map(str, key), strict=True))
    details = [WORDS[name].format(value) for name, value in named.items() if name in WORDS and value != NONE]
    settings = provenance.get("settings") or {}
    commit = str(provenance.get("commit") or "unknown")[:12]
    parts = [
        "## Calibration by language",
        ", ".join([f"`{named['model']}`", *(details or (["not tuned"] if is_study else []))]) + ".",
        "Each question has one right option. The model's probabilities of the options give its answer and its"
        " confidence. Accuracy is the share of right answers; the gap is confidence minus accuracy, so a positive one"
        " is over-confidence; ECE is the expected calibration error"
        f" ({settings.get('bins')} bins of equal {settings.get('binning')}). Brackets are 95% bootstrap intervals over"
        " questions. The ECE of a perfectly calibrated model is not 0 but the noise floor.",
    ]
    for (benchmark, protocol), group in rows.groupby(["benchmark", "protocol"], sort=True):
        parts += [f"### {benchmark}, {protocol}", markdown(_table(group)).rstrip("\n")]
    where = f"in the study `{study}`" if is_study else f"from the score records of `{study}`"
    parts.append(f"Measured by polycal {where} at commit {commit}.")
    return "\n\n".join(parts) + "\n"


def _table(rows: pd.DataFrame) -> pd.DataFrame:
    table = pd.DataFrame({"Language": rows.language, "Questions": rows.n.astype(str)})
    for metric, heading in METRICS.items():
        bounds = zip(rows[metric], rows[f"{metric}_low"], rows[f"{metric}_high"], strict=True)
        table[heading] = [f"{value:.3f} [{low:.3f}, {high:.3f}]" for value, low, high in bounds]
    table["Noise floor"] = [f"{value:.3f}" for value in rows.ece_floor]
    return table
