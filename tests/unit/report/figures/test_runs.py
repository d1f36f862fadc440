"""Figures of untuned runs beside each other."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from polycal.report.figures import draw, runs
from polycal.report.study_tables import StudyTables

SCORED = ("mmlu-prox", "texts-0shot")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def marks(axis):
    """The points of each run: label → values and positions."""
    return {box.get_label(): box.lines[0].get_xdata() for box in axis.containers}


def test_each_run_has_a_mark_in_each_language(runs_study):
    [names] = runs.parts(runs_study, *SCORED)
    assert names == ["large", "small"]
    for make, metric in ((runs.gap_by_language, "gap"), (runs.ece_by_language, "ece")):
        shown = marks(make(runs_study, *SCORED, names).axes[0])
        for name in names:
            cells = runs_study["cells"].query("model == @name").set_index("language")
            np.testing.assert_array_equal(shown[name], [cells[metric][code] for code in ("de", "en", "gsw")])


def test_reliability_has_a_column_per_run(runs_study):
    figure = runs.reliability(runs_study, *SCORED, ["large", "small"])
    assert [axis.get_title() for axis in figure.axes[:2]] == ["large", "small"]
    assert len(figure.axes) == 2 * 3


def test_many_runs_have_several_figures(runs_study):
    cells = pd.concat([runs_study["cells"].assign(model=f"m{number}") for number in range(7)])
    many = StudyTables({**runs_study.tables, "cells": cells}, {})
    assert [len(part) for part in runs.parts(many, *SCORED)] == [5, 2]
    names = [name for name in draw.drawings(many) if name.startswith("rungap")]
    assert names == ["rungap-mmlu-prox-texts-0shot-part-1", "rungap-mmlu-prox-texts-0shot-part-2"]


def test_a_study_has_no_figures_of_runs(study):
    assert not [name for name in draw.drawings(study) if name.startswith("run")]
