"""The study's numbers as tables for reading: csv, Markdown and LaTeX."""

from pathlib import Path
from typing import Any

import pandas as pd

from polycal import series
from polycal.series import Study

SHOWN = {"accuracy": "Accuracy", "confidence": "Confidence", "ece": "ECE", "rms": "RMS"}


def table_one(study: Study) -> pd.DataFrame:
    """The shape of the paper's Table 1: a row a checkpoint, each metric's mean over languages.

    Every metric has its 95% interval and, for smoothed checkpoints, the change against β = 0.
    """
    means = study["means"]
    overall = means[means.group == "all"]
    rows = []
    # a model's base stands before what was tuned from it
    order = overall.assign(value=[-1.0 if b == "none" else float(b) for b in overall.beta])
    order = order.assign(tuned=order.value >= 0)
    by = ["benchmark", "protocol", "model", "tuned", "data", "recipe", "seed", "value"]
    ranked: Any = order.sort_values(by).itertuples()
    for row in ranked:
        same = overall[
            (overall.model == row.model)
            & (overall.data == row.data)
            & (overall.recipe == row.recipe)
            & (overall.seed == row.seed)
            & (overall.benchmark == row.benchmark)
            & (overall.protocol == row.protocol)
            & (overall.beta == "0")
        ]
        shown: dict[str, object] = {
            "Benchmark": row.benchmark,
            "Protocol": row.protocol,
            "Model": row.model,
            "Data": row.data,
            "Setting": series.setting(str(row.beta)),
            "Languages": row.languages,
        }
        for metric, title in SHOWN.items():
            value = float(getattr(row, metric))
            low, high = (float(getattr(row, f"{metric}_{end}")) for end in ("low", "high"))
            shown[title] = f"{value:.3f} [{low:.3f}, {high:.3f}]"
            if metric != "confidence":
                change = value - float(same[metric].iloc[0]) if len(same) and row.value > 0 else None
                shown[f"Δ {title}"] = "" if change is None else f"{change:+.3f}"
        rows.append(shown)
    return pd.DataFrame(rows)


def by_language(study: Study, benchmark: str, metric: str) -> pd.DataFrame:
    """One metric of a benchmark: a row a checkpoint, a column a language, resource levels in turn."""
    cells = study["cells"]
    found = cells[cells.benchmark == benchmark]
    keys = ["protocol", "model", "data", "recipe", "seed", "beta"]
    wide = found.pivot(index=keys, columns="language", values=metric)
    return wide[series.in_order(found)].round(3).reset_index()


def write(study: Study, folder: Path) -> list[Path]:
    """Write all tables below ``folder`` and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    first = table_one(study)
    texts = {
        "table1.csv": first.to_csv(index=False),
        "table1.md": _markdown(first),
        "table1.tex": first.to_latex(index=False, escape=True),
    }
    for benchmark in sorted(set(study["cells"].benchmark)):
        for metric in ("accuracy", "confidence", "ece"):
            texts[f"{benchmark}-{metric}.csv"] = by_language(study, benchmark, metric).to_csv(index=False)
    for name, text in texts.items():
        aside = folder / f".{name}.part"
        aside.write_text(text, encoding="utf-8")
        aside.replace(folder / name)
        written.append(folder / name)
    return written


def _markdown(table: pd.DataFrame) -> str:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"

    head = [str(c) for c in table.columns]
    body = "".join(line([str(v) for v in row]) for row in table.itertuples(index=False))
    return line(head) + line(["---"] * len(head)) + body
