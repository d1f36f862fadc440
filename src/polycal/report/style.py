"""The style of figures: colours, markers, font and font sizes."""

import functools
from collections.abc import Sequence

import matplotlib as mpl
import seaborn as sns
from matplotlib import font_manager

from polycal.report.study_tables import BASE

COLOURS = ("#7f7f7f", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00")
"""The first is for base models. The others are Okabe and Ito's palette, safe for colour-blind readers."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h", "d", "8")
FONT = "DejaVu Sans"
"""The font is part of matplotlib, so figures look the same on all machines."""
PATH_COLOUR = "#999999"
"""Colour of the line that connects the settings of a sweep."""
BAR_COLOUR = "#dddddd"
NOTE_COLOUR = "#555555"
HOLE_COLOUR = "#a63f00"
"""Colour of notes about missing cells."""

TITLE_SIZE = 10
SINGLE_TITLE_SIZE = 11
"""Title size of a figure with one panel."""
LABEL_SIZE = 10
LEGEND_SIZE = 9
TICK_SIZE = 9
NOTE_SIZE = 8
SMALL_SIZE = 7
"""Text size in small panels."""


def apply() -> None:
    """Set seaborn's theme and matplotlib's options. With them, equal figures give equal bytes."""
    sns.set_theme(style="whitegrid", context="notebook", font=FONT)
    mpl.rcParams.update(
        {
            "svg.hashsalt": "polycal",
            "figure.dpi": 110,
            "savefig.bbox": "tight",
            "figure.constrained_layout.use": True,
            # a dollar sign in a name must not start a formula
            "text.parse_math": False,
        }
    )


def mark(number: int) -> tuple[str, str]:
    """Colour and marker of ``number``: 0 for base models, then 70 different ones before they repeat."""
    if number == 0:
        return COLOURS[0], MARKERS[0]
    round_, colour = divmod(number - 1, len(COLOURS) - 1)
    return COLOURS[1 + colour], MARKERS[(1 + colour + round_) % len(MARKERS)]


def marks(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each setting: number 0 for the base model, then the others in order."""
    others = [name for name in names if name != BASE]
    return {name: mark(0 if name == BASE else 1 + others.index(name)) for name in names}


def drawable(text: str) -> bool:
    """Whether the font contains all characters of ``text``. It draws boxes in place of missing ones."""
    return all(ord(character) in _characters() for character in text)


@functools.cache
def _characters() -> frozenset[int]:
    return frozenset(font_manager.get_font(font_manager.findfont(FONT)).get_charmap())
