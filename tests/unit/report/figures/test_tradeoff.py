"""ECE against accuracy as β rises."""

import pandas as pd
import pytest

from polycal.report import best_beta, study_tables
from polycal.report.figures import tradeoff


def test_there_is_a_panel_per_language_and_one_for_the_mean(study, sweep):
    figure = tradeoff.ece_and_accuracy(study, sweep)
    titles = [axis.get_title() for axis in figure.axes if axis.get_visible()]
    assert titles == ["German", "English", "Hindi", "Yorùbá <b>", best_beta.MEAN]
    rows = study["cells"].query("language == 'en' and beta != 'none'").sort_values("beta")
    english = figure.axes[1]
    expected = rows[["accuracy", "ece"]].to_numpy().ravel()
    assert english.lines[0].get_xydata().ravel().tolist() == pytest.approx(expected)
    # every panel shows the base model and two tuned settings
    assert [len(axis.collections[0].get_offsets()) for axis in figure.axes[:5]] == [3] * 5


def test_the_means_are_those_of_the_table(study, sweep):
    [axis] = tradeoff.mean_ece_and_accuracy(study, sweep.benchmark, sweep.protocol).axes
    means = study["means"].query("group == 'all' and beta != 'none'").sort_values("beta")
    expected = means[["accuracy", "ece"]].to_numpy().ravel()
    assert axis.lines[0].get_xydata().ravel().tolist() == pytest.approx(expected)
    assert axis.get_ylim()[0] == 0


def test_many_languages_have_a_panel_per_level_with_a_line_for_each(study, sweep):
    levels = {f"l{number:02d}": ("high", "low")[number % 3 == 0] for number in range(18)}
    english = study["cells"].query("language == 'en'")
    copies = [english.assign(language=code, resource=level) for code, level in levels.items()]
    many = study_tables.StudyTables({**study.tables, "cells": pd.concat(copies, ignore_index=True)}, {})
    axes = [axis for axis in tradeoff.ece_and_accuracy(many, sweep).axes if axis.get_visible()]
    titles = ["high resource, 12 languages", "low resource, 6 languages", best_beta.MEAN]
    assert [axis.get_title() for axis in axes] == titles
    assert [len(axis.collections[0].get_offsets()) for axis in axes] == [36, 18, 3]
    tuned = english.query("beta != 'none'").sort_values("beta")[["accuracy", "ece"]].to_numpy()
    paths = [line for line in axes[1].lines if len(line.get_xdata()) == 2 and line.get_linestyle() == "-"]
    assert len(paths) == 6
    assert all(line.get_xydata().ravel().tolist() == pytest.approx(tuned.ravel()) for line in paths)
