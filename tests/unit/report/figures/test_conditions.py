"""Two conditions of a study never share the file name of a figure or a mark in an axis."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib import colors
from matplotlib import pyplot as plt
from matplotlib.collections import PathCollection

from polycal.report import style
from polycal.report.figures import calibration, common, draw, known_truth, recalibration, tradeoff
from polycal.report.study_tables import StudyTables
from polycal.vocabulary import CELL_KEYS, NONE

LANGUAGES = ("en", "fr")
METRICS = ("ece", "gap", "accuracy", "confidence", "ece_true", "smallest_shrunk")


def tables(conditions):
    """Invented tables with one cell per condition (checkpoint keys) and language. Each value is unique."""
    rows = []
    numbers = itertools.count(1)
    for checkpoint, language in itertools.product(conditions, LANGUAGES):
        cell = dict(zip(CELL_KEYS, (*checkpoint, "b", "p", language), strict=True))
        value = {metric: next(numbers) / 1000 for metric in METRICS}
        ends = {f"{metric}{end}": value[metric] for metric in METRICS for end in ("_low", "_high")}
        rows.append({**cell, **value, **ends, "resource": "high", "ece_floor": 0.01, "n": 10})
    cells = pd.DataFrame(rows)
    bins = cells.assign(low=0.0, high=1.0)
    means = cells[cells.language == "en"].drop(columns="language").assign(group="all", languages=2)
    mean = cells[cells.language == "en"].assign(language="mean")
    methods = [pd.concat([cells, mean]).assign(method=method) for method in recalibration.METHODS]
    truth = pd.concat(
        [cells, cells[:1].assign(model="truth", data=NONE, base_seed=NONE, recipe=NONE, seed=NONE)]
    )
    next_token = cells[cells.language == "en"].assign(language="all", benchmark="h")
    measured = {
        "cells": cells, "means": means, "reliability": bins, "recalibration": pd.concat(methods),
        "truth": truth, "diversity": cells[[*CELL_KEYS, "smallest_shrunk"]], "next_token": next_token,
    }  # fmt: skip
    return StudyTables(measured, {})


def grid(
    models=("m",), base_seeds=("0",), data=("d",), recipes=("r1", "r2"), betas=("0", "0.1"), seeds=("1", "2")
):
    """The conditions of a grid: base models, and all combinations of the other keys."""
    base = [(m, b, NONE, NONE, NONE, NONE) for m in models for b in base_seeds]
    return [*base, *itertools.product(models, base_seeds, data, recipes, betas, seeds)]


MANY = {
    "two recipes and two seeds": grid(),
    "mixtures": grid(data=("d-english", "d-natural"), seeds=("1",)),
    "base seeds": grid(base_seeds=("0", "1")),
    "hyphens": grid(models=("a", "a-b"), data=("b-c", "c"), recipes=("r",), seeds=("1",)),
    "upper case": grid(models=("A", "a"), recipes=("r",)),
    "many settings": grid(recipes=("r",), betas=[str(n / 100) if n else "0" for n in range(12)]),
    "many data sets": grid(data=[f"d{n}" for n in range(9)], recipes=("r",)),
    "long names": grid(models=("m" * 90, "m" * 90 + "2"), data=("d" * 90,), recipes=("r" * 60, "q" * 60)),
}


@pytest.mark.parametrize("conditions", MANY.values(), ids=MANY)
def test_file_names_are_distinct_and_fit_a_file_system(conditions):
    study = tables(conditions)
    names = list(draw.drawings(study))
    assert len({name.lower() for name in names}) == len(names)
    assert max(len(f".{name}.svg.12345678.part") for name in names) <= 255
    sweeps = len(study.beta_sweeps())
    for kind in ("ece", "reliability", "temperature"):
        assert sum(name.startswith(f"{kind}-") for name in names) == sweeps


def drawn(axis):
    """Each mark of an axis (colour, marker, line style) with the values drawn with it."""
    found = {}
    for container in axis.containers:
        line = container[0]
        if hasattr(line, "get_marker"):
            key = (colors.to_hex(line.get_color()), line.get_marker())
            found.setdefault(key, []).extend(zip(line.get_xdata(), line.get_ydata(), strict=True))
    for points in axis.collections:
        offsets = np.ma.getdata(points.get_offsets())
        if isinstance(points, PathCollection):
            shapes = [path.vertices.round(3).tobytes() for path in points.get_paths()]
            for number, offset in enumerate(offsets):
                colour = points.get_facecolors()
                key = (colors.to_hex(colour[number % len(colour)]), shapes[number % len(shapes)])
                found.setdefault(key, []).append(tuple(offset))
    return found


@pytest.mark.parametrize("conditions", MANY.values(), ids=MANY)
def test_a_mark_in_an_axis_is_one_condition(conditions):
    style.apply()
    study = tables(conditions)
    cells = study["cells"].set_index("gap")
    seen = set()
    for part in study.by_condition():
        figure = calibration.overview(part, "b", "p")
        for axis in figure.axes:
            for values in drawn(axis).values():
                shown = {tuple(cells.loc[x, list(CELL_KEYS[:6])]) for x, _ in values}
                assert len(shown) == 1
                seen |= shown
        plt.close(figure)
    # no condition is left out
    assert seen == set(map(tuple, conditions))


@pytest.mark.parametrize("conditions", [MANY["two recipes and two seeds"], MANY["many settings"]])
@pytest.mark.parametrize(
    ("make", "table", "x"),
    [
        (calibration.confidence_and_accuracy, "cells", None),
        (tradeoff.mean_ece_and_accuracy, "means", "accuracy"),
    ],
)
def test_points_of_an_axis_are_told_apart(conditions, make, table, x):
    style.apply()
    study = tables(conditions)
    rows = study[table].set_index(x) if x else None
    for part in study.by_condition():
        figure = make(part, "b", "p")
        for axis in figure.axes:
            marks = drawn(axis)
            settings = len({c[4] for c in conditions} - {NONE})
            assert len(marks) == (settings + 1 if x else settings)
            for values in marks.values() if x else ():
                assert len({tuple(rows.loc[value, list(CELL_KEYS[:6])]) for value, _ in values}) == 1
        plt.close(figure)


def test_each_picture_says_its_condition():
    study = tables(grid())
    titles = {
        axis.get_title()
        for part in study.by_condition()
        for axis in calibration.overview(part, "b", "p").axes
    }
    assert titles == {f"m tuned on d\nrecipe {r}, seed {s}" for r in ("r1", "r2") for s in ("1", "2")}
    sweep = study.beta_sweeps()[0]
    title = "m tuned on d, b, recipe r1, seed 1"
    assert calibration.ece_by_language(study, sweep).axes[0].get_title() == title
    plt.close("all")


def test_a_study_with_one_condition_is_drawn_and_named_as_a_whole():
    study = tables(grid(models=("m", "n"), recipes=("r",), seeds=("1",)))
    assert study.by_condition() == [study]
    assert "overview-b-p" in draw.drawings(study)
    assert calibration.overview(study, "b", "p").axes[0].get_title() == "m tuned on d"
    plt.close("all")


def test_models_without_a_base_seed_are_in_the_pictures_of_all():
    conditions = [*grid(base_seeds=("0", "1")), *grid(models=("hub",), base_seeds=(NONE,))]
    study = tables(conditions)
    parts = study.by_condition()
    assert [part.condition["base_seed"] for part in parts] == ["0"] * 4 + ["1"] * 4
    assert all(set(part["cells"].model) == {"m", "hub"} for part in parts)
    # a condition that no other part contains has its own part
    alone = tables([*conditions, ("hub", NONE, "d", "r3", "0", "1")]).by_condition()
    assert [part.condition["base_seed"] for part in alone] == ["0"] * 4 + ["1"] * 4 + [NONE]


@pytest.mark.parametrize("make", [calibration.overview, recalibration.mean_ece, known_truth.against_truth])
def test_panels_with_other_settings_share_marks_and_positions(make):
    first = grid(data=("d",), recipes=("r",), seeds=("1",), betas=("0", "0.1"))
    second = grid(data=("e",), recipes=("r",), seeds=("1",), betas=("0", "0.05", "0.2"))[1:]
    study = tables([*first, *second])
    figure = make(study, "b", "p")
    settings = ["base", "β = 0", "β = 0.05", "β = 0.1", "β = 0.2"]
    if make is calibration.overview:
        looks = style.marks(settings)
        for axis in figure.axes:
            for container in axis.containers:
                line = container[0]
                if len(line.get_xdata()):
                    assert (line.get_color(), line.get_marker()) == looks[container.get_label()]
    else:
        assert [text.get_text() for text in figure.axes[-1].get_xticklabels()] == settings
        series = (
            figure.axes[0].containers[0][0] if make is recalibration.mean_ece else figure.axes[0].lines[0]
        )
        shown = np.asarray(series.get_xdata())[~np.isnan(np.asarray(series.get_ydata(), float))]
        assert shown.round().tolist() == [0, 1, 3]
    plt.close(figure)


def test_panels_with_other_languages_have_rows_of_the_same_languages():
    study = tables(grid(models=("m", "n"), recipes=("r",), seeds=("1",)))
    cells = study["cells"]
    cells = cells[~((cells.model == "m") & (cells.language == "en"))]
    left, _ = calibration.overview(StudyTables({**study.tables, "cells": cells}, {}), "b", "p").axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["en", "fr"]
    # fr is the second row in both panels
    assert all(round(y) == 1 for container in left.containers for y in container[0].get_ydata())
    plt.close("all")


def test_marks_are_distinct():
    marks = [style.mark(number) for number in range(71)]
    assert len(set(marks)) == 71
    assert marks[0][0] not in {colour for colour, _ in marks[1:]}


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        ({"fr": "法语", "en": "English"}, ["English (en)", "fr"]),
        ({"fr": "हिन्दी", "en": "Ελληνικά"}, ["Ελληνικά (en)", "fr"]),
        ({"fr": "العربية", "en": "Eng$lish$"}, ["Eng$lish$ (en)", "العربية (fr)"]),
        ({"fr": "a\nb", "en": "same"}, ["same (en)", "fr"]),
    ],
)
def test_a_name_that_the_font_cannot_draw_is_shown_by_its_code(names, labels, recwarn):
    style.apply()
    study = StudyTables(tables(grid()).tables, names)
    figure = calibration.ece_by_language(study, study.beta_sweeps()[0])
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == labels
    figure.canvas.draw()
    assert not [one for one in recwarn if "missing from font" in str(one.message)]
    assert not any(text.get_parse_math() for text in figure.axes[0].get_yticklabels())
    plt.close(figure)


def test_languages_of_one_name_are_told_apart_by_their_codes():
    study = StudyTables({}, {"zh": "Chinese", "zh-TW": "Chinese", "en": "English"})
    assert [common.language_label(study, code) for code in ("zh", "zh-TW", "en", "xx")] == [
        "Chinese (zh)",
        "Chinese (zh-TW)",
        "English",
        "xx",
    ]


def test_a_pair_of_model_and_data_that_the_study_lacks_has_no_panel():
    conditions = [*grid(models=("m1",), data=("d1", "d2"), recipes=("r",), seeds=("1",))]
    conditions += grid(models=("m2",), data=("d1",), recipes=("r",), seeds=("1",))
    figure = tradeoff.mean_ece_and_accuracy(tables(conditions), "b", "p")
    shown = {axis.get_title(): axis for axis in figure.axes if axis.get_visible()}
    assert set(shown) == {"m1 tuned on d1", "m1 tuned on d2", "m2 tuned on d1"}
    figure.canvas.draw()
    # the panel above the missing one is now the lowest of its column, so it has the tick labels
    labels = [tick.label1 for tick in shown["m2 tuned on d1"].xaxis.get_major_ticks()]
    assert any(label.get_visible() and label.get_text() for label in labels)
