"""The study's numbers as tables: csv with every figure, Markdown and LaTeX for reading.

Table 1 has the shape of the paper's: a row a checkpoint, means over languages, the change against β = 0. The
tables by language have a row a language and a column a checkpoint.
"""

import re
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from polycal.report import study_tables
from polycal.report.study_tables import Study

SHOWN = {"accuracy": "Accuracy", "confidence": "Confidence", "ece": "ECE", "rms": "RMS"}
CHANGED = ("accuracy", "ece", "rms")
KEYS = ["benchmark", "protocol", "model", "data", "recipe", "seed", "beta"]
GROUPS = {"all": "mean", "high": "mean, high", "mid": "mean, mid", "low": "mean, low"}


def numbers(study: Study) -> pd.DataFrame:
    """Table 1 in full: a row a checkpoint, benchmark and protocol; the base of a model before what was tuned.

    Columns: what names the row, ``languages``, each metric's unweighted mean over them with ``_low`` and
    ``_high`` (95%), and for smoothed checkpoints ``_change`` against β = 0 on the same questions, with its own
    ``_low`` and ``_high``.
    """
    means = study["means"]
    table = means[means.group == "all"]
    intervals = [f"{metric}{end}" for metric in SHOWN for end in ("", "_low", "_high")]
    table = table[[*KEYS, "languages", *intervals]]
    contrasts = study.tables.get("contrasts")
    for metric in CHANGED:
        names = {end: f"{metric}_change{tail}" for end, tail in _ENDS.items()}
        if contrasts is None or contrasts.empty:
            table = table.assign(**dict.fromkeys(names.values(), float("nan")))
            continue
        found = contrasts[
            (contrasts.contrast == "smoothed_minus_unsmoothed")
            & (contrasts.language == "mean")
            & (contrasts.metric == metric)
        ]
        table = table.merge(found.rename(columns=names)[[*KEYS, *names.values()]], on=KEYS, how="left")
    return _ordered(table)


_ENDS = {"difference": "", "low": "_low", "high": "_high"}


def table_one(study: Study) -> pd.DataFrame:
    """Table 1 for reading: every value and every change with its 95% interval, as texts."""
    found = numbers(study)
    table = _named(found)
    table["Languages"] = found.languages.astype(str)
    for metric, title in SHOWN.items():
        table[title] = _spelled(found, metric, ".3f")
        if metric in CHANGED:
            table[f"Δ {title}"] = _spelled(found, f"{metric}_change", "+.3f")
    return table


def pairs(study: Study) -> pd.DataFrame:
    """What names the rows of ``data_sets``: the keys of the first set's checkpoint, and ``reference``, the second set."""
    found = _pairs(study)
    return found[found.metric == "ece"][[*KEYS, "reference"]] if len(found) else found


def _pairs(study: Study) -> pd.DataFrame:
    found = study.tables.get("contrasts")
    if found is None or found.empty:
        return pd.DataFrame()
    return found[(found.contrast == "data_minus_data") & (found.language == "mean")]


def data_sets(study: Study) -> pd.DataFrame:
    """One data set against another, as texts: a row a model, β and pair, mean over the languages that both have.

    Each value is the first set's less the second's on the same questions, with its 95% interval; empty where
    no model was tuned on two sets.
    """
    found = _pairs(study)
    if found.empty:
        return pd.DataFrame()
    first = found[found.metric == "ece"]
    table = _named(first)
    table.insert(list(table).index("Data") + 1, "Less", first.reference)
    for metric, title in SHOWN.items():
        one = found[found.metric == metric].rename(
            columns={end: f"{metric}{tail}" for end, tail in _ENDS.items()}
        )
        table[f"Δ {title}"] = _spelled(one, metric, "+.3f")
    return table


def by_language(study: Study, benchmark: str, metric: str) -> pd.DataFrame:
    """One metric of a benchmark: a row a language by resource level, then the means; a column a checkpoint."""
    cells, means = study["cells"], study["means"]
    cells, means = cells[cells.benchmark == benchmark], means[means.benchmark == benchmark]
    order = study_tables.in_order(cells)
    levels = dict(zip(cells.language, cells.resource, strict=True))
    mean = means.assign(language=means.group)[[*KEYS, "language", metric]]
    found = _ordered(pd.concat([cells[[*KEYS, "language", metric]], mean]))
    found["checkpoint"] = _checkpoints(found)
    columns = list(dict.fromkeys(found.checkpoint))
    wide = found.pivot(index=["protocol", "model", "language"], columns="checkpoint", values=metric)
    rows = []
    for protocol, model in dict.fromkeys(zip(found.protocol, found.model, strict=True)):
        for language in [*order, *GROUPS]:
            if (protocol, model, language) not in wide.index:
                continue
            row = {
                "Protocol": protocol,
                "Model": model,
                "Language": GROUPS.get(language) or study.languages.get(language, language),
                "Code": "" if language in GROUPS else language,
                "Resource": levels.get(language, ""),
            }
            rows.append(row | {name: wide.loc[(protocol, model, language), name] for name in columns})
    return pd.DataFrame(rows)


def write(study: Study, folder: Path, more: Mapping[str, pd.DataFrame] | None = None) -> list[Path]:
    """Write all tables below ``folder``, each as csv, Markdown and LaTeX, and return their paths.

    ``more`` are written as csv alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    first = table_one(study)
    texts = {
        "table1.csv": numbers(study).to_csv(index=False),
        "table1.md": markdown(first),
        "table1.tex": latex(_without_intervals(first), ["Benchmark", "Protocol"]),
    }
    pairs = data_sets(study)
    if len(pairs):
        texts["data-sets.csv"] = pairs.to_csv(index=False)
        texts["data-sets.md"] = markdown(pairs)
        texts["data-sets.tex"] = latex(pairs, ["Benchmark", "Protocol"])
    for benchmark in sorted(set(study["cells"].benchmark)):
        for metric in SHOWN:
            table = by_language(study, benchmark, metric)
            shown = table.map(lambda v: v if isinstance(v, str) else "" if pd.isna(v) else f"{v:.3f}")
            name = f"{benchmark}-{metric}"
            texts[f"{name}.csv"] = table.to_csv(index=False)
            texts[f"{name}.md"] = markdown(shown)
            texts[f"{name}.tex"] = latex(shown, ["Protocol", "Model"], long=True)
    for name, table in (more or {}).items():
        texts[f"{name}.csv"] = table.to_csv(index=False)
    for name, text in texts.items():
        aside = folder / f".{name}.part"
        aside.write_text(text, encoding="utf-8")
        aside.replace(folder / name)
    return [folder / name for name in texts]


def markdown(table: pd.DataFrame) -> str:
    """A table of texts in Markdown."""

    def line(cells: Any) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |\n"

    body = "".join(line(row) for row in table.itertuples(index=False))
    return line(table.columns) + line(["---"] * len(table.columns)) + body


def latex(table: pd.DataFrame, sections: list[str], long: bool = False) -> str:
    """A table of texts in LaTeX, to be read with ``\\input``; ``sections`` are columns that become headings.

    It needs the package booktabs, and longtable where it is ``long`` and may run over several pages.
    """
    shown = table.drop(columns=sections)
    body: list[str] = []
    keys = [tuple(map(str, row)) for row in table[sections].itertuples(index=False)]
    lines = [" & ".join(map(_tex, row)) + r" \\" for row in shown.itertuples(index=False)]
    for key, group in groupby(zip(keys, lines, strict=True), key=lambda pair: pair[0]):
        body += [rf"\multicolumn{{{shown.shape[1]}}}{{l}}{{\emph{{{_tex(', '.join(key))}}}}} \\"]
        body += [line for _, line in group] + [r"\midrule"]
    figures = [bool(re.match(r"[-+.\d]", "".join(map(str, shown[name]))[:1])) for name in shown]
    columns = "".join("r" if figure else "l" for figure in figures)
    name = "longtable" if long else "tabular"
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}" + (r" and \usepackage{longtable}" if long else ""),
            rf"\begin{{{name}}}{{{columns}}}",
            r"\toprule",
            " & ".join(map(_tex, shown.columns)) + r" \\",
            r"\midrule",
            *([r"\endhead"] if long else []),
            *body[:-1],
            r"\bottomrule",
            rf"\end{{{name}}}",
            "",
        ]
    )


def _tex(text: object) -> str:
    found = re.sub(r"([&%$#_{}])", r"\\\1", str(text).replace("\\", "/"))
    found = re.sub(r"(?<![\w.])-(?=[\d.])", "$-$", found)
    for letter, name in {"β": r"$\beta$", "Δ": r"$\Delta$", "~": r"\textasciitilde{}", "^": r"\^{}"}.items():
        found = found.replace(letter, name)
    return found


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    ranked = table.assign(
        tuned=table.data != "none", value=[-1.0 if beta == "none" else float(beta) for beta in table.beta]
    )
    ranked = ranked.sort_values([*KEYS[:3], "tuned", *KEYS[3:6], "value"], kind="stable")
    return ranked.drop(columns=["tuned", "value"]).reset_index(drop=True)


def _several(table: pd.DataFrame) -> list[str]:
    """Of recipe and seed those that tell checkpoints of this table apart."""
    return [key for key in ("recipe", "seed") if len(set(table[key]) - {"none"}) > 1]


def _named(table: pd.DataFrame) -> pd.DataFrame:
    keys = ["benchmark", "protocol", "model", "data", *_several(table)]
    named = {key.capitalize(): table[key] for key in keys}
    return pd.DataFrame({**named, "Setting": [study_tables.setting(beta) for beta in table.beta]})


def _checkpoints(table: pd.DataFrame) -> list[str]:
    keys, names = ["data", *_several(table)], []
    for row in table.to_dict("records"):
        tuned = [str(row[key]) for key in keys] if row["data"] != "none" else []
        names.append(", ".join([*tuned, study_tables.setting(row["beta"])]))
    return names


def _spelled(table: pd.DataFrame, name: str, form: str) -> list[str]:
    values = zip(table[name], table[f"{name}_low"], table[f"{name}_high"], strict=True)
    return ["" if pd.isna(v) else f"{v:{form}} [{low:{form}}, {high:{form}}]" for v, low, high in values]


def _without_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """Values alone, changes with their intervals: what fits on a page."""
    short = table.copy()
    for title in SHOWN.values():
        short[title] = [text.partition(" ")[0] for text in table[title]]
    return short
