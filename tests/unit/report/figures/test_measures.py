"""The figures of measures of confidence show the values of the table."""

import itertools
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from polycal.report import captions, confidence_table, generation_section
from polycal.report.figures import draw, measures
from polycal.report.study_tables import StudyTables
from polycal.vocabulary import CELL_KEYS

MEASURED = ("measuregap", "measureauroc", "generatedgap", "generatedauroc")


def test_gaps_are_those_of_the_table(study, sweep):
    figure = measures.gap_by_language(study, sweep, "confidences")
    titles = [axis.get_title().replace("\n", " ") for axis in figure.axes]
    assert titles == [confidence_table.MEASURES[name] for name in ("likelihood", "agreement")]
    table = study["confidences"]
    for axis, measure in zip(figure.axes, ("likelihood", "agreement"), strict=True):
        for line, beta in zip(axis.containers, ("none", "0", "0.1"), strict=True):
            rows = table[(table.measure == measure) & (table.beta == beta) & (table.language != "mean")]
            assert sorted(line[0].get_xdata()) == pytest.approx(sorted(rows.gap))


def test_auroc_is_that_of_each_resource_level(study, sweep):
    figure = measures.auroc_by_level(study, sweep, "confidences")
    assert [axis.get_title() for axis in figure.axes][:2] == ["all languages", "high resource"]
    means = study["confidences"].query("language == 'mean' and resource == 'low' and beta == '0'")
    expected = means.set_index("measure").auroc[["likelihood", "agreement"]]
    low = figure.axes[[axis.get_title() for axis in figure.axes].index("low resource")]
    assert list(low.containers[1][0].get_xdata()) == pytest.approx(list(expected))


def test_figures_of_generated_answers_show_the_values_of_their_table(generated_study):
    drawings = draw.drawings(generated_study)
    table = generated_study["generation"]
    gaps = drawings["generatedgap-m-d-b-generate"]()
    assert [axis.get_title().replace("\n", " ") for axis in gaps.axes] == [
        *generation_section.MEASURES.values()
    ]
    for axis, measure in zip(gaps.axes, generation_section.MEASURES, strict=True):
        for line, beta in zip(axis.containers, ("none", "0", "0.1"), strict=True):
            rows = table[(table.measure == measure) & (table.beta == beta) & (table.language != "mean")]
            assert sorted(line[0].get_xdata()) == pytest.approx(sorted(rows.gap))
    auroc = drawings["generatedauroc-m-d-b-generate"]()
    assert [axis.get_title() for axis in auroc.axes] == ["all languages"]
    means = table.query("language == 'mean' and beta == '0.1'").set_index("measure")
    expected = means.auroc[[*generation_section.MEASURES]]
    assert list(auroc.axes[0].containers[2][0].get_xdata()) == pytest.approx(list(expected))
    plt.close("all")


def test_figures_of_generated_answers_name_the_cells_without_a_result(generated_study):
    table, cells = generated_study["generation"], [*CELL_KEYS]
    lost = table.query("language == 'yo' and beta == '0' and measure == 'entropy'")[cells]
    holes = lost.assign(stage="generate", reason="it broke.")
    left = table[~((table.language == "yo") & (table.beta == "0"))]
    tables = {**generated_study.tables, "generation": left, "generation_holes": holes}
    figures = draw.drawings(replace(generated_study, tables=tables))
    assert [*figures["generatedgap-m-d-b-generate"].holes.kind] == ["generated answers"]
    assert figures["measuregap-llama-alpaca-mmlu-prox-texts-0shot"].holes.empty
    figure = figures["generatedgap-m-d-b-generate"]()
    assert any("yo (it broke)" in text.get_text() for text in figure.findobj(Text))
    plt.close(figure)


def test_only_tables_with_languages_and_with_means_have_such_figures(generated_study):
    def kinds(**tables):
        study = replace(generated_study, tables={**generated_study.tables, **tables})
        return {captions.kind_of(name) for name in draw.drawings(study)} & set(MEASURED)

    confidences, generation = generated_study["confidences"], generated_study["generation"]
    assert kinds() == set(MEASURED)
    assert kinds(confidences=confidences[:0], generation=generation[:0]) == set()
    assert kinds(confidences=confidences[confidences.language == "mean"]) == set(MEASURED) - {"measuregap"}
    assert kinds(generation=generation[generation.language == "en"]) == set(MEASURED) - {"generatedauroc"}


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
    figure = measures.gap_by_language(many(study), sweep, "confidences")
    figure.draw_without_rendering()
    labels = [text.get_window_extent() for text in figure.axes[0].get_yticklabels()]
    assert len(labels) == 42
    tops = np.array([box.y0 for box in labels])
    heights = np.array([box.height for box in labels])
    assert (np.abs(np.diff(tops)) >= 0.8 * heights[:-1]).all()
    titles = [axis.title.get_window_extent() for axis in figure.axes]
    assert all(left.x1 <= right.x0 for left, right in itertools.pairwise(titles))
