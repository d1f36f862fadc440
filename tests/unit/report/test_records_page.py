"""A folder with tables, figures and a page of score records; an earlier one is replaced as a whole."""

import html.parser
import json
from pathlib import Path

import pandas as pd
import pytest
from helpers import drawings

from polycal.analysis import record_tables
from polycal.report import export, main_page, records_page, study_tables
from polycal.report.figures import draw
from polycal.report.records_page import OutputError

RUN = {"settings": record_tables.SETTINGS, "commit": "c" * 40, "dirty": False}


class Links(html.parser.HTMLParser):
    """The targets of a page's links and images, and its anchors."""

    def __init__(self):
        super().__init__()
        self.targets, self.ids = [], set()

    def handle_starttag(self, tag, attrs):
        self.ids |= {value for name, value in attrs if name == "id"}
        self.targets += [
            value for name, value in attrs if name in ("href", "src") and not value.startswith("data:")
        ]


@pytest.fixture
def few_figures(monkeypatch):
    drawings.draw_only(monkeypatch, "rungap")


def write(study, out):
    return records_page.write(study.tables, study.languages, out, RUN)


def test_the_folder_is_whole_and_can_be_read_again(runs_study, tmp_path, few_figures):
    page = write(runs_study, tmp_path / "new/page")
    assert [path.name for path in page.parent.parent.iterdir()] == ["page"]
    parsed = Links()
    parsed.feed(page.read_text(encoding="utf-8"))
    for target in parsed.targets:
        file, _, anchor = target.partition("#")
        assert (page.parent / file).is_file() if file else anchor in parsed.ids, target
    assert {"groups", "records", "languages", "explore"} <= parsed.ids
    listed = json.loads((page.parent / records_page.MANIFEST).read_text())["files"]
    here = {path.relative_to(page.parent).as_posix() for path in page.parent.rglob("*") if path.is_file()}
    assert here == {*listed, records_page.MANIFEST}
    again = study_tables.read(page.parent, {})
    assert again.of_records
    for name, table in runs_study.tables.items():
        pd.testing.assert_frame_equal(again[name], table)
    # the folder can be exported like that of a study
    export.export(page.parent, tmp_path / "exported")
    assert len(pd.read_csv(tmp_path / "exported/cells.csv")) == 6
    # a score record does not say whether its model was tuned
    card = (tmp_path / "exported/model-cards/large.md").read_text(encoding="utf-8")
    assert "\n`large`.\n" in card
    assert f"from the score records of `page` at commit {RUN['commit'][:12]}" in card


def test_the_page_names_models_and_records_and_not_what_a_study_has(runs_study, runs_page_text):
    assert main_page.RUNS_QUESTION in runs_page_text
    assert main_page.QUESTION not in runs_page_text
    assert "provenance.html" not in runs_page_text.partition("<script")[0]
    assert (
        "Δ" not in runs_page_text[runs_page_text.index('id="table1"') : runs_page_text.index('id="reading"')]
    )
    for name in ("small", "large"):
        assert f"<td>{name}</td><td>mmlu-prox</td>" in runs_page_text
    # Yorùbá is not scored, and a language without a name is shown by its code
    assert "<bdi>gsw</bdi>" in runs_page_text


@pytest.fixture
def runs_page_text(runs_study):
    return main_page.render(runs_study, "runs", (), [], {})


def test_an_earlier_page_is_replaced_and_other_files_are_not(runs_study, tmp_path, few_figures):
    out = tmp_path / "page"
    out.mkdir()
    write(runs_study, out)
    (out / "figures/captions.md").unlink()
    records_page.check_output(out)
    write(runs_study, out)
    assert (out / "figures/captions.md").is_file()
    (out / "figures/mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"contains figures/mine\.txt, which polycal show did not write"):
        write(runs_study, out)
    assert (out / "figures/mine.txt").read_text() == "mine"
    with pytest.raises(OutputError, match="is a file; must be a new folder"):
        records_page.check_output(out / "figures/mine.txt")


def test_nothing_is_left_if_the_page_cannot_be_made(runs_study, tmp_path, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("no page")

    monkeypatch.setattr(draw, "draw", fail)
    with pytest.raises(RuntimeError, match="no page"):
        write(runs_study, Path(tmp_path / "page"))
    assert list(tmp_path.iterdir()) == []
