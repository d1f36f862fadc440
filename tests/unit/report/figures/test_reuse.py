"""A figure whose data, code and libraries are those of an earlier report is taken from there."""

from dataclasses import replace

import matplotlib.pyplot as plt
import pytest
from helpers import drawings

from polycal.report import captions
from polycal.report.figures import draw, reuse, writing
from polycal.store import code_versions
from polycal.study import paths


def changed(study, table, column):
    """The study with other values in a column of a table."""
    values = {column: study[table][column] + 0.001}
    return replace(study, tables={**study.tables, table: study[table].assign(**values)})


def keys(study):
    """The key of the first figure of each kind."""
    found = {}
    for name, drawing in draw.drawings(study).items():
        found.setdefault(captions.kind_of(name), reuse.key(drawing))
    return found


@pytest.fixture(scope="module")
def before(generated_study):
    return keys(generated_study)


@pytest.mark.parametrize(
    ("table", "column", "kinds"),
    [
        ("cells", "ece", {"ece", "reliability", "tradeoff"}),
        ("cells", "ece_floor", {"ece", "beta", "tradeoff", "recalibration"}),
        ("cells", "gap_high", {"overview"}),
        ("means", "ece", {"beta", "tradeoff"}),
        ("recalibration", "ece_low", {"recalibration", "temperature"}),
        ("confidences", "gap", {"measuregap"}),
        ("confidences", "ece", set()),
        ("generation", "gap", {"generatedgap"}),
        ("generation", "auroc_low", {"generatedauroc"}),
        ("generation", "ece", set()),
        ("reliability", "accuracy", {"reliability"}),
    ],
)
def test_only_figures_that_draw_a_value_depend_on_it(generated_study, before, table, column, kinds):
    after = keys(changed(generated_study, table, column))
    assert {kind for kind in before if before[kind] != after[kind]} == kinds


def test_languages_of_the_catalogue_that_are_not_drawn_do_not_matter(generated_study, before):
    languages = generated_study.languages
    assert keys(replace(generated_study, languages={**languages, "eo": "Esperanto"})) == before
    # a second language of the same name makes the labels show the codes
    doubled = keys(replace(generated_study, languages={**languages, "nds": "German"}))
    assert all(doubled[kind] != before[kind] for kind in ("overview", "ece", "measuregap"))


@pytest.fixture
def written(monkeypatch):
    """The names of the figures that are drawn, in order. Their files contain a number in place of the figure."""
    names = []

    def write(figure, folder, name):
        names.append(name)
        for suffix in writing.UNDATED:
            (folder / f"{name}{suffix}").write_text(str(len(names)))
        plt.close(figure)

    monkeypatch.setattr(writing, "write", write)
    return names


def test_a_report_draws_only_what_changed(study, tmp_path, monkeypatch, written, capsys):
    earlier = tmp_path / paths.FIGURES
    drawings.draw_only(monkeypatch, "ece", "measureauroc")
    ece, auroc = draw.draw(study, tmp_path / "one", earlier=earlier)
    assert written == [ece.stem, auroc.stem]
    draw.draw(changed(study, "cells", "ece"), tmp_path / "two", earlier=earlier)
    assert written == [ece.stem, auroc.stem, ece.stem]
    assert "1 of 2 are as in an earlier report" in capsys.readouterr().out
    figures = draw.draw(study, tmp_path / "three", earlier=earlier)
    assert len(written) == 3
    for figure in figures:
        for suffix in writing.UNDATED:
            path = figure.with_suffix(suffix)
            assert path.read_bytes() == (tmp_path / "one" / path.name).read_bytes()


def test_an_altered_figure_and_a_figure_of_other_code_are_drawn_again(study, tmp_path, monkeypatch, written):
    earlier = tmp_path / paths.FIGURES
    drawings.draw_only(monkeypatch, "ece")
    [figure] = draw.draw(study, tmp_path / "one", earlier=earlier)
    [stored] = earlier.glob("*/*/figure.svg")
    stored.chmod(0o644)
    stored.write_text("altered")
    draw.draw(study, tmp_path / "two", earlier=earlier)
    monkeypatch.setattr(code_versions, "modules_version", lambda modules, packages: "other")
    draw.draw(study, tmp_path / "three", earlier=earlier)
    assert written == [figure.stem] * 3
    assert (tmp_path / "two" / f"{figure.stem}.svg").read_text() != "altered"
