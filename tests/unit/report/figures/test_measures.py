"""The figures of measures of confidence show the values of the table."""

import itertools

import numpy as np
import pandas as pd
import pytest

from polycal.report import confidence_table
from polycal.report.figures import measures
from polycal.report.study_tables import StudyTables


def test_gaps_are_those_of_the_table(study, sweep):
    figure = measures.gap_by_language(study, sweep)
    titles = [axis.get_title().replace("\n", " ") for axis in figure.axes]
    assert titles == [confidence_table.MEASURES[name] for name in ("likelihood", "agreement")]
    table = study["confidences"]
    for axis, measure in zip(figure.axes, ("likelihood", "agreement"), strict=True):
        for line, beta in zip(axis.containers, ("none", "0", "0.1"), strict=True):
            rows = table[(table.measure == measure) & (table.beta == beta) & (table.language != "mean")]
            assert sorted(line[0].get_xdata()) == pytest.approx(sorted(rows.gap))


def test_auroc_is_that_of_each_resource_level(study, sweep):
    figure = measures.auroc_by_level(study, sweep)
    assert [axis.get_title() for axis in figure.axes][:2] == ["all languages", "high resource"]
    means = study["confidences"].query("language == 'mean' and resource == 'low' and beta == '0'")
    expected = means.set_index("measure").auroc[["likelihood", "agreement"]]
    low = figure.axes[[axis.get_title() for axis in figure.axes].index("low resource")]
    assert list(low.containers[1][0].get_xdata()) == pytest.approx(list(expected))


def test_a_study_without_the_table_has_no_such_figures(study, sweep):
    assert measures.has_languages(study, sweep)
    table = study["confidences"]
    for lacking in (table[:0], table[table.language == "mean"]):
        assert not measures.has_languages(StudyTables({**study.tables, "confidences": lacking}, {}), sweep)


def many(study, languages=42):
    """The table with five measures in many languages."""
    table, parts = study["confidences"], []
    names = [f"x{number:02d}" for number in range(languages)]
    one = table[(table.language == "en") & (table.measure == "agreement")]
    for number, code in enumerate(names):
        for place, measure in enumerate(confidence_table.MEASURES):
            level = ("high", "mid", "low")[number * 3 // languages]
            rows = one.assign(language=code, measure=measure, resource=level)
            shift = 0.01 * number - 0.1 * place
            parts.append(
                rows.assign(**{f"gap{end}": rows[f"gap{end}"] + shift for end in ("", "_low", "_high")})
            )
    cells = study["cells"]
    cell = cells[cells.language == "en"]
    levels = [("high", "mid", "low")[number * 3 // languages] for number in range(languages)]
    more = pd.concat(
        [cell.assign(language=code, resource=level) for code, level in zip(names, levels, strict=True)]
    )
    means = table[table.language == "mean"]
    tables = {"confidences": pd.concat([*parts, means]), "cells": more}
    return StudyTables({**study.tables, **tables}, {code: f"Language {code}" for code in names})


def test_many_languages_have_labels_that_do_not_overlap(study, sweep):
    figure = measures.gap_by_language(many(study), sweep)
    figure.draw_without_rendering()
    labels = [text.get_window_extent() for text in figure.axes[0].get_yticklabels()]
    assert len(labels) == 42
    tops = np.array([box.y0 for box in labels])
    heights = np.array([box.height for box in labels])
    assert (np.abs(np.diff(tops)) >= 0.8 * heights[:-1]).all()
    titles = [axis.title.get_window_extent() for axis in figure.axes]
    assert all(left.x1 <= right.x0 for left, right in itertools.pairwise(titles))
