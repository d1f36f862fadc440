"""How figures look: colours, markers, line styles and font sizes."""

from collections.abc import Sequence

import matplotlib as mpl
import seaborn as sns

from polycal.report.study_tables import BASE

COLOURS = ("#7f7f7f", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00")
"""The first is for base models; the others are of Okabe and Ito's palette, safe for colour-blind readers."""
MARKERS = ("o", "s", "^", "D", "v", "P")
LINES = ("-", "--", ":", "-.")
PATH_COLOUR = "#999999"
"""Of the line that connects the settings of a sweep."""
BAR_COLOUR = "#dddddd"
NOTE_COLOUR = "#555555"

TITLE_SIZE = 10
SINGLE_TITLE_SIZE = 11
"""Of a figure with one panel."""
LABEL_SIZE = 10
LEGEND_SIZE = 9
TICK_SIZE = 9
NOTE_SIZE = 8
SMALL_SIZE = 7
"""Of text in small panels."""


def apply() -> None:
    """Set seaborn's theme and the options of matplotlib; equal figures then give equal bytes."""
    sns.set_theme(style="whitegrid", context="notebook", font="DejaVu Sans")
    mpl.rcParams.update(
        {
            "svg.hashsalt": "polycal",
            "figure.dpi": 110,
            "savefig.bbox": "tight",
            "figure.constrained_layout.use": True,
        }
    )


def mark(number: int) -> tuple[str, str]:
    """Colour and marker number ``number``; they repeat after six."""
    return COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]


def marks(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each setting: the first for the base model, then in order for the others."""
    others = [name for name in names if name != BASE]
    return {name: mark(0 if name == BASE else 1 + others.index(name)) for name in names}
