"""Choices of figures that another process can import, in place of ``draw.drawings``."""

import functools
import os
import signal
from collections.abc import Callable
from typing import Any

from polycal.report.figures import draw
from polycal.report.study_tables import StudyTables


def of_ece(study: StudyTables) -> dict[str, Callable[[], Any]]:
    """The figures of ECE, which are drawn quickly."""
    return {name: make for name, make in draw.drawings(study).items() if name.startswith("ece-")}


def killing(study: StudyTables) -> dict[str, Callable[[], Any]]:
    """A figure that kills the process that draws it."""
    return {"ece-killed": functools.partial(os.kill, os.getpid(), signal.SIGKILL)}
