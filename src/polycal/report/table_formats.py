"""Tables of texts as Markdown and LaTeX."""

import re
from collections.abc import Iterable
from itertools import groupby

import pandas as pd


def markdown(table: pd.DataFrame) -> str:
    """A table of texts as Markdown; ``|`` is escaped."""

    def line(cells: Iterable[object]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |\n"

    body = "".join(line(row) for row in table.itertuples(index=False))
    return line(table.columns) + line(["---"] * len(table.columns)) + body


def latex(table: pd.DataFrame, sections: list[str], long: bool = False) -> str:
    """A table of texts as LaTeX, for ``\\input``. The columns ``sections`` become headings of groups of rows.

    The document needs the package booktabs. With ``long`` the table can span pages, and the document also
    needs longtable.
    """
    shown = table.drop(columns=sections)
    body: list[str] = []
    keys = [tuple(map(str, row)) for row in table[sections].itertuples(index=False)]
    lines = [" & ".join(map(_escaped, row)) + r" \\" for row in shown.itertuples(index=False)]
    for key, group in groupby(zip(keys, lines, strict=True), key=lambda pair: pair[0]):
        body += [rf"\multicolumn{{{shown.shape[1]}}}{{l}}{{\emph{{{_escaped(', '.join(key))}}}}} \\"]
        body += [line for _, line in group] + [r"\midrule"]
    numeric = [bool(re.match(r"[-+.\d]", "".join(map(str, shown[name]))[:1])) for name in shown]
    columns = "".join("r" if right else "l" for right in numeric)
    environment = "longtable" if long else "tabular"
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}" + (r" and \usepackage{longtable}" if long else ""),
            rf"\begin{{{environment}}}{{{columns}}}",
            r"\toprule",
            " & ".join(map(_escaped, shown.columns)) + r" \\",
            r"\midrule",
            *([r"\endhead"] if long else []),
            *body[:-1],
            r"\bottomrule",
            rf"\end{{{environment}}}",
            "",
        ]
    )


def _escaped(text: object) -> str:
    """The text as LaTeX: special characters escaped, minus signs and Greek letters in math mode."""
    escaped = re.sub(r"([&%$#_{}])", r"\\\1", str(text).replace("\\", "/"))
    escaped = re.sub(r"(?<![\w.])-(?=[\d.])", "$-$", escaped)
    commands = {"β": r"$\beta$", "Δ": r"$\Delta$", "~": r"\textasciitilde{}", "^": r"\^{}"}
    for letter, command in commands.items():
        escaped = escaped.replace(letter, command)
    return escaped
