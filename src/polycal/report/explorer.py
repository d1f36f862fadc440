"""The explorer of the page: its data in compact columns, and the scripts that show them.

DataTables (MIT, contained in the package itables) draws the tables. Vega-Lite (BSD-3, contained in
vl-convert-python) draws the charts. Both are copied from the installed packages into the page, which then
needs no network.
"""

import base64
import functools
import importlib.metadata
import importlib.resources
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import vl_convert

from polycal.artifacts import computed_once
from polycal.audit.lineage import LineageNode
from polycal.report import group_table, provenance_page, style
from polycal.report.study_tables import StudyTables
from polycal.vocabulary import CELL_KEYS, NONE, RESOURCE_LEVELS

METRICS = {
    "gap": "Gap (confidence minus accuracy)",
    "ece": "ECE",
    "accuracy": "Accuracy",
    "confidence": "Confidence",
    "rms": "RMS",
    "brier": "Brier score",
    "nll": "Negative log-likelihood",
}
"""Metrics that a reader can choose. All have intervals and contrasts."""
WITHOUT_CONTRASTS = {
    "candidate_mass": "Mass on the letters (probability of any of them)",
    "order_spread": "Spread over orders (effect of the order of the options)",
}
"""Further metrics, which have intervals. A metric that no cell has is not offered."""
NORMALISED = ("accuracy", "gap", "ece")
"""Metrics that are there, without intervals, for every normalisation of the log-likelihoods."""
CONTRAST_COLUMNS = ("difference", "low", "high", "q")
BIN_COLUMNS = {
    "low": "left", "high": "right", "n": "n", "confidence": "confidence", "accuracy": "accuracy",
    "accuracy_low": "low", "accuracy_high": "high",
}  # fmt: skip
MEAN = "mean"
"""The language of rows that are means over languages."""


class Scripts(NamedTuple):
    """The scripts of the page, escaped for use inside a script element."""

    tables: str
    tables_style: str
    charts: str
    own: str
    data: str


def scripts(study: StudyTables, nodes: Sequence[LineageNode]) -> Scripts:
    """The libraries, the page's own script and its data."""
    package = importlib.resources.files("itables") / "html"
    # An inline module cannot be imported by name, so its export of jQuery is assigned to a window variable.
    library = (package / "dt_bundle.js").read_text(encoding="utf-8")
    library, exported = re.subn(r"export\{.*?(\w+) as jQuery.*?\}", r"window.jQuery=\1", library)
    if exported != 1:
        raise ValueError(
            "itables: dt_bundle.js does not export jQuery; must be the version of envs/cpu.lock."
        )
    own = importlib.resources.files("polycal.report") / "templates" / "explorer.js"
    return Scripts(
        _inside_script(f"(()=>{{{library}\n}})()"),
        (package / "dt_bundle.css").read_text(encoding="utf-8"),
        _charts(),
        _inside_script(own.read_text(encoding="utf-8")),
        json.dumps(data(study, nodes), ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
    )


@functools.cache
def _charts() -> str:
    """Vega-Lite in one script. Joining its modules takes seconds, so it is done once for each version."""
    bundle = computed_once.value(
        "vega_embed",
        importlib.metadata.version("vl-convert-python"),
        lambda: vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"),
    )
    return _inside_script(bundle)


def _inside_script(text: str) -> str:
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def data(study: StudyTables, nodes: Sequence[LineageNode] = ()) -> dict[str, Any]:
    """The tables ``cells`` (with all means), ``contrasts`` and ``reliability`` in compact columns.

    A row of contrasts or reliability has the index of its cell. ``normalisations`` has the metrics of each
    normalisation, in the order of the cells. ``records`` are the anchors of the cells'
    records on the provenance page, empty for a mean.
    """
    means = study["means"]
    means = means[means.group == "all"].assign(language=MEAN, resource="", n=means.languages)
    cells = pd.concat([study.with_training_means()["cells"], means], ignore_index=True)
    keys = list(CELL_KEYS)
    number = {key: place for place, key in enumerate(cells[keys].itertuples(index=False, name=None))}
    anchors = provenance_page.record_anchors(nodes)
    links = [anchors.get(key, "") for key in number]
    further = {name: title for name, title in WITHOUT_CONTRASTS.items() if cells[name].notna().any()}
    metrics = METRICS | further
    intervals = [f"{metric}{end}" for metric in metrics for end in ("", "_low", "_high")]
    return {
        "metrics": metrics,
        "languages": {code: study.language_name(code) for code in sorted(set(cells.language) - {MEAN})},
        # without tuned checkpoints, models are compared with each other instead of values of β
        "runs": not study.tuned,
        "levels": list(RESOURCE_LEVELS) if cells.resource.isin(RESOURCE_LEVELS).any() else [],
        "colours": style.COLOURS,
        "provenance": provenance_page.FILE,
        "records": links,
        "cells": {
            **{key: _texts(cells[key]) for key in [*keys, "resource"]},
            **{name: _numbers(cells[name]) for name in ["n", *intervals, "ece_floor"]},
        },
        "contrasts": _contrasts(study.get("contrasts"), number),
        "reliability": _reliability(study["reliability"], number),
        "normalisations": _normalisations(study.get("normalisations"), number),
        "groups": _groups(study),
    }


def _groups(study: StudyTables) -> dict[str, Any]:
    """The means over languages of each group of questions, as long columns; empty without groups."""
    rows = group_table.means(study)
    if rows.empty:
        return {}
    intervals = [f"{metric}{end}" for metric in group_table.METRICS for end in ("", "_low", "_high")]
    return {
        **{key: _texts(rows[key]) for key in [*(key for key in CELL_KEYS if key != "language"), "group"]},
        **{name: _numbers(rows[name]) for name in [*intervals, "ece_floor", "ece_floor_high"]},
        "n": _numbers(rows.n / rows.languages),
    }


def _of_cells(table: pd.DataFrame, number: Mapping[Any, int]) -> pd.DataFrame:
    """The rows of ``table`` that belong to a cell, with the index of the cell."""
    keys = table[list(CELL_KEYS)].itertuples(index=False, name=None)
    numbered = table.assign(cell=[number.get(key, -1) for key in keys])
    return numbered[numbered.cell >= 0]


def _contrasts(table: pd.DataFrame, number: Mapping[Any, int]) -> dict[str, Any]:
    if table.empty:
        table = pd.DataFrame(columns=[*CELL_KEYS, "metric", "reference", *CONTRAST_COLUMNS])
    rows = _of_cells(table[table.metric.isin(list(METRICS))], number)
    return {
        "cell": _numbers(rows.cell),
        "metric": _texts(rows.metric),
        "reference": _texts(rows.reference),
        **{name: _numbers(rows[name]) for name in CONTRAST_COLUMNS},
    }


def _reliability(table: pd.DataFrame, number: Mapping[Any, int]) -> dict[str, Any]:
    rows = _of_cells(table, number)
    return {"cell": _numbers(rows.cell)} | {
        short: _numbers(rows[name]) for name, short in BIN_COLUMNS.items()
    }


def _normalisations(table: pd.DataFrame, number: Mapping[Any, int]) -> dict[str, dict[str, Any]]:
    """By normalisation: the metrics of NORMALISED for every cell, empty where it was not measured."""
    if table.empty:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for name, part in _of_cells(table, number).groupby("normalise", sort=True):
        values = part.set_index("cell").reindex(range(len(number)))
        found[str(name)] = {metric: _numbers(values[metric]) for metric in NORMALISED}
    return found


def _numbers(column: pd.Series) -> dict[str, str]:
    return {"numbers": base64.b64encode(column.to_numpy("<f4", na_value=np.nan).tobytes()).decode()}


def _texts(column: pd.Series) -> dict[str, Any]:
    codes, values = pd.factorize(column.fillna(NONE).astype(str), sort=True)
    return {"values": list(values), "codes": base64.b64encode(codes.astype("<u2").tobytes()).decode()}
