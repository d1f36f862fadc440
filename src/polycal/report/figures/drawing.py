"""A figure together with exactly the data that it draws."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from polycal.report.figures import common
from polycal.report.study_tables import StudyTables


@dataclass(frozen=True)
class Drawing:
    """A figure that is drawn when this object is called.

    ``function`` gets ``study``, which contains only what it draws (``inputs``), and then ``arguments``. A note names
    the cells ``holes``, which the figure cannot show. ``several`` is that of ``study_holes.grouped``.
    """

    function: Callable[..., Figure]
    study: StudyTables
    arguments: tuple[Any, ...]
    holes: pd.DataFrame = field(default_factory=pd.DataFrame)
    several: Sequence[str] = ()

    def __call__(self) -> Figure:
        figure = self.function(self.study, *self.arguments)
        common.name_holes(figure, self.holes, self.several)
        return figure
