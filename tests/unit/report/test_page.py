"""What a study's folder shows: tables, findings, figures and the page, from tables measured on invented records."""

import html.parser

import pytest
from helpers.score_records import LANGUAGES, SETTINGS, study
from helpers.stamps import FixedStamp

from polycal.analysis import measure
from polycal.report import findings, study_tables
from polycal.report import page as report
from polycal.report.figures import draw

NAMES = {"en": "English", "de": "German", "hi": "Hindi", "yo": "Yoruba <b>"}
ONE = ("llama", "alpaca", "paper", "42", "mmlu-prox", "texts-0shot")


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    files = study(folder / "scores")
    measure.measure({"settings": SETTINGS}, scores=files, out=folder, stamp=FixedStamp(code="abc"))
    return study_tables.read(folder, NAMES), files


def test_a_folder_without_measured_tables_is_refused(tmp_path):
    with pytest.raises(
        study_tables.StudyError, match=r"cells\.parquet is missing; run 'polycal measure' first"
    ):
        study_tables.read(tmp_path, {})


def test_a_series_holds_its_base_and_every_beta(shown):
    found = shown[0]
    assert found.tuned() == [ONE]
    assert study_tables.settings(found.of("cells", ONE)) == ["base", "β = 0", "β = 0.1"]
    assert study_tables.in_order(found["cells"]) == ["de", "en", "hi", "yo"]


def test_findings_say_what_the_contrasts_say(shown):
    found = findings.findings(shown[0])
    contrasts = shown[0]["contrasts"]
    over = contrasts.query("contrast == 'tuned_minus_base' and beta == '0' and metric == 'gap'")
    over = over[over.language.isin(LANGUAGES)]
    assert f"rose in {(over.difference > 0).sum()} of {len(over)} cells" in found[0].found
    rises = "partly" if (over.difference > 0).all() else "no"
    assert found[0].agrees == ("yes" if (over.low > 0).all() else rises)
    cut = contrasts.query("beta == '0.1' and metric == 'ece' and language == 'mean'")
    cut = cut[cut.contrast == "smoothed_minus_unsmoothed"].iloc[0]
    told = next(f for f in found if "lowers ECE" in f.claim)
    assert f"llama on alpaca {100 * cut.relative_ece_reduction:.0f}%" in told.found


def test_the_summary_gives_the_means_and_names_cells_at_chance(shown):
    [said] = findings.summary(shown[0])
    means = shown[0]["means"].query("group == 'all' and beta == '0.1'").iloc[0]
    assert f"With β = 0.1: {means.accuracy:.1%} right at a confidence of {means.confidence:.1%}" in said
    assert "chance" not in said
    cells = shown[0]["cells"].assign(above_chance=lambda t: t.language != "yo")
    [said] = findings.summary(study_tables.Study({**shown[0].tables, "cells": cells}, NAMES))
    lost = (cells.language == "yo").sum()
    assert f"In {lost} of {len(cells)} cells accuracy cannot be told from chance" in said


def test_a_study_without_tuning_has_no_findings(shown):
    bare = {name: t for name, t in shown[0].tables.items() if name != "contrasts"}
    assert findings.findings(study_tables.Study(bare, NAMES)) == []


def test_figures_are_drawn_in_two_forms_and_the_same_bytes_again(shown, tmp_path):
    first = draw.draw(shown[0], tmp_path / "a")
    again = draw.draw(shown[0], tmp_path / "b")
    kinds = {path.stem.split("-")[0] for path in first}
    assert kinds == {"overview", "confidence", "beta", "ece", "reliability", "tradeoff"}
    for one, two in zip(first, again, strict=True):
        assert one.read_bytes() == two.read_bytes()
        assert one.with_suffix(".svg").read_text() == two.with_suffix(".svg").read_text()


class Page(html.parser.HTMLParser):
    """Collects addresses that a page would load, and its text."""

    def __init__(self):
        super().__init__()
        self.loaded, self.text, self.tags = [], "", set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.loaded += [v for k, v in attrs if k in ("src", "href") and not v.startswith(("data:", "#"))]

    def handle_data(self, data):
        self.text += data


def test_the_page_loads_nothing_escapes_text_and_names_what_is_missing(shown, tmp_path):
    drawn = draw.draw(shown[0], tmp_path / "figures")[:1]
    gone = tmp_path / "results/gone.parquet"
    settings = {"note": "<script>alert(1)</script>"}
    page = Page()
    page.feed(report.write(shown[0], tmp_path, [*shown[1], gone], drawn, settings).read_text())
    assert page.loaded == []
    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in page.text
    assert str(gone) in page.text
