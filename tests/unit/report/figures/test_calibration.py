"""Over-confidence and calibration by language."""

import dataclasses
import itertools

import pandas as pd
import pytest

from polycal.report.figures import calibration, draw
from polycal.report.study_tables import StudyTables


def test_the_overview_shows_the_gap_of_each_language_and_setting(study, sweep):
    [axis] = calibration.overview(study, sweep.benchmark, sweep.protocol).axes
    cells = study["cells"].set_index(["beta", "language"]).gap
    for drawn, beta in zip(axis.containers, ("none", "0", "0.1"), strict=True):
        values = [cells[beta, code] for code in ("de", "en", "hi", "yo")]
        assert list(drawn[0].get_xdata()) == pytest.approx(values)
    assert axis.get_yticklabels()[3].get_text() == "Yorùbá <b> (yo)"


def test_points_of_confidence_are_changes_from_the_base(study, sweep):
    [axis] = calibration.confidence_and_accuracy(study, sweep.benchmark, sweep.protocol).axes
    cells = study["cells"].set_index(["beta", "language"])[["accuracy", "confidence"]]
    expected = [
        tuple(cells.loc[beta, code] - cells.loc["none", code])
        for beta in ("0", "0.1")
        for code in ("de", "en", "hi", "yo")
    ]
    points = sorted(map(tuple, axis.collections[0].get_offsets().tolist()))
    assert [coordinate for point in points for coordinate in point] == pytest.approx(
        [coordinate for point in sorted(expected) for coordinate in point]
    )


def test_a_tick_marks_the_noise_floor(study, sweep):
    [axis] = calibration.ece_by_language(study, sweep).axes
    floor = study.rows("cells", sweep).groupby("language").ece_floor.mean()
    [ticks] = [drawn for drawn in axis.collections if drawn.get_label() == "noise floor"]
    assert ticks.get_offsets()[:, 0].tolist() == pytest.approx([floor[c] for c in ("de", "en", "hi", "yo")])


def test_reliability_has_a_panel_per_language_and_setting(study, sweep):
    figure = calibration.reliability(study, sweep)
    assert len(figure.axes) == 4 * 3
    assert [axis.get_title() for axis in figure.axes[:3]] == ["base", "β = 0", "β = 0.1"]
    cell = study["cells"].query("language == 'de' and beta == 'none'").iloc[0]
    assert f"ECE {cell.ece:.3f}" in figure.axes[0].texts[0].get_text()


def test_no_point_of_a_reliability_diagram_is_cut_at_the_frame(study, sweep):
    figure = calibration.reliability(study, sweep)
    points = [line for axis in figure.axes for container in axis.containers[1:] for line in container[:1]]
    assert points
    assert not any(line.get_clip_on() for line in points)


def many(study, count=18):
    """The study with ``count`` languages. The gap rises with the number of the language."""
    codes = [f"l{number:02d}" for number in range(count)]
    tables = dict(study.tables)
    for name in ("cells", "reliability"):
        rows = tables[name].query("language == 'en'")
        copies = [rows.assign(language=code) for code in codes]
        if name == "cells":
            copies = [copy.assign(gap=number / 100) for number, copy in enumerate(copies)]
        tables[name] = pd.concat(copies, ignore_index=True)
    return StudyTables(tables, {})


def test_reliability_of_many_languages_shows_the_least_the_middle_and_the_greatest_gap(study, sweep):
    figure = calibration.reliability(many(study), sweep)
    assert len(figure.axes) == 3 * 3
    assert [axis.get_ylabel().split()[0] for axis in figure.axes[::3]] == ["l00", "l09", "l17"]


def test_reliability_shows_the_languages_that_the_configuration_names_too(study, sweep):
    named = dataclasses.replace(many(study), diagrams=("l03", "l17", "xx"))
    assert calibration.diagram_parts(named, sweep) == [["l00", "l09", "l17", "l03"]]
    every = dataclasses.replace(named, diagrams=("all",))
    codes = [f"l{number:02d}" for number in range(18)]
    assert calibration.diagram_parts(every, sweep) == [codes[:6], codes[6:12], codes[12:]]
    names = [name for name in draw.drawings(every) if name.startswith("reliability-")]
    words = "reliability-llama-alpaca-mmlu-prox-texts-0shot"
    assert names == [f"{words}-part-{number}" for number in (1, 2, 3)]


def test_rows_of_many_languages_do_not_overlap(study, sweep):
    figure = calibration.overview(many(study, 42), sweep.benchmark, sweep.protocol)
    [axis] = figure.axes
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in axis.get_yticklabels()]
    assert len(boxes) == 42
    assert all(above.y0 >= below.y1 for above, below in itertools.pairwise(boxes))


def test_each_data_set_has_its_overview_if_languages_are_many(study):
    assert [name for name in draw.drawings(study) if name.startswith("overview")] == [
        "overview-mmlu-prox-texts-0shot"
    ]
    assert [name for name in draw.drawings(many(study)) if name.startswith("overview")] == [
        "overview-mmlu-prox-texts-0shot-alpaca"
    ]
