"""How a table of metrics is printed: readable in the width of a terminal, or whole in a format for other programs."""

import textwrap
from enum import StrEnum
from typing import TYPE_CHECKING

from polycal.errors import PolycalError

if TYPE_CHECKING:
    # every command imports this module, and few print a table
    import pandas as pd

WIDTH = 80
"""Columns of a terminal that the readable form fits in, if names are not longer."""
FIRST = ("accuracy", "gap", "ece", "ece_floor", "difference", "p", "q", "n", "confidence")
"""Columns that are shown before the others if not all fit, most important first."""
WHOLE_NUMBERS = ("n",)
UNNAMED = "none"


class Format(StrEnum):
    """Forms of a printed table."""

    TEXT = "text"
    CSV = "csv"
    JSON = "json"
    MD = "md"


class TableError(PolycalError):
    """A table that cannot be printed as asked; the message names what can."""


def printed(table: "pd.DataFrame", form: Format = Format.TEXT, sort: str | None = None) -> str:
    """The table as text; sorted by the column ``sort``, numbers from the largest down.

    csv, json and md have every column, the first two with every digit. Raises TableError for an unknown column.
    """
    import pandas as pd

    if sort is not None:
        if sort not in table:
            raise TableError(
                f"--sort: there is no column {sort!r}; must be one of {', '.join(table.columns)}."
            )
        ascending = not pd.api.types.is_numeric_dtype(table[sort])
        table = table.sort_values(sort, ascending=ascending, kind="stable")
    if form is Format.CSV:
        return table.to_csv(index=False).rstrip("\n")
    if form is Format.JSON:
        return table.to_json(orient="records", double_precision=15, force_ascii=False)
    if form is Format.MD:
        from polycal.report.table_formats import markdown

        return markdown(table.round(4)).rstrip("\n")
    return _text(table)


def _text(table: "pd.DataFrame") -> str:
    """What all rows share above, and below it what differs between them, as much as fits, with intervals in brackets."""
    import pandas as pd

    columns = [str(name) for name in table.columns]
    numbers = [name for name in columns if pd.api.types.is_float_dtype(table[name]) or name in WHOLE_NUMBERS]
    bounds = {f"{name}{end}" for name in numbers for end in ("_low", "_high")}
    bounds |= {"low", "high"} if "difference" in table else set()
    names = [name for name in columns if name not in numbers]
    shared = {name: table[name].iloc[0] for name in names if len(table) > 1 and table[name].nunique() == 1}
    named = [name for name in names if name not in shared and set(table[name]) != {UNNAMED}]
    if len(named) > 1 and not table.duplicated([name for name in named if name != "file"]).any():
        named = [name for name in named if name != "file"]
    shown = {name: [str(value) for value in table[name]] for name in named}
    left_out = []
    metrics = [name for name in numbers if name not in bounds]
    for name in sorted(metrics, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST)):
        column = _with_interval(table, name)
        if _width({**shown, name: column}) <= WIDTH or len(shown) == len(named):
            shown[name] = column
        else:
            left_out.append(name)
    words = ", ".join(f"{name}: {value}" for name, value in shared.items() if value != UNNAMED)
    body = pd.DataFrame(shown).to_string(index=False)
    note = f"Not shown: {', '.join(left_out)}; --format csv has them." if left_out else ""
    return "\n".join(filter(None, (filled(words), body, filled(note))))


def filled(text: str, indent: str = "") -> str:
    """``text`` in lines of at most WIDTH, all but the first indented; names with hyphens are not cut."""
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False)


def _width(shown: dict[str, list[str]]) -> int:
    return sum(1 + max(map(len, (name, *texts))) for name, texts in shown.items())


def _with_interval(table: "pd.DataFrame", name: str) -> list[str]:
    import pandas as pd

    if name in WHOLE_NUMBERS:
        return [str(value) for value in table[name]]
    low, high = (f"{name}_low", f"{name}_high") if name != "difference" else ("low", "high")
    if low not in table:
        return ["" if pd.isna(value) else f"{value:.4f}" for value in table[name]]
    rows = zip(table[name], table[low], table[high], strict=True)
    return ["" if pd.isna(value) else f"{value:.3f} [{least:.3f}, {most:.3f}]" for value, least, most in rows]
