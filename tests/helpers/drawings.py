"""Choices of figures in place of ``draw.drawings``. Another process can import the functions that return figures."""

import functools
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from polycal.report import captions
from polycal.report.figures import draw
from polycal.report.figures.drawing import Drawing
from polycal.report.study_tables import StudyTables


def draw_only(monkeypatch: pytest.MonkeyPatch, *kinds: str) -> None:
    """Let reports draw figures of some kinds only, because drawing all of them takes many seconds."""
    drawings = draw.drawings

    def chosen(study: StudyTables) -> dict[str, Drawing]:
        return {name: made for name, made in drawings(study).items() if captions.kind_of(name) in kinds}

    monkeypatch.setattr(draw, "drawings", chosen)


def of_ece(study: StudyTables) -> dict[str, Callable[[], Any]]:
    """The figures of ECE, which are drawn quickly."""
    return {name: make for name, make in draw.drawings(study).items() if name.startswith("ece-")}


def killing(study: StudyTables) -> dict[str, Callable[[], Any]]:
    """A figure that kills the process that draws it."""
    return {"ece-killed": functools.partial(os.kill, os.getpid(), signal.SIGKILL)}
