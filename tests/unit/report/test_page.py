"""The pages load only figures beside them, escape text and list what is missing; all files are written."""

import html.parser
import json

import pytest
from helpers import drawings, holes, measured, score_records
from helpers.stamps import FixedStamp

from polycal.report import main_page, page
from polycal.report.figures import draw
from polycal.store import cache, code_versions


class Page(html.parser.HTMLParser):
    """Collects the anchors, the links, the text and the external addresses of a page."""

    def __init__(self):
        super().__init__()
        self.loaded, self.text, self.tags, self.ids, self.links = [], "", [], set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids |= {value for name, value in attrs if name == "id"}
        self.links += [value for name, value in attrs if name == "href"]
        self.loaded += [v for k, v in attrs if k in ("src", "href") and not v.startswith(("data:", "#"))]

    def handle_data(self, data):
        self.text += data


def test_the_page_loads_nothing_escapes_text_and_names_what_is_missing(
    study, study_folder, tmp_path, monkeypatch
):
    drawings.draw_only(monkeypatch, "overview", "beta")
    [figure, _] = figures = draw.draw(study, tmp_path / "figures")
    missing = tmp_path / "results/gone.parquet"
    scores = [*sorted((study_folder / "scores").iterdir()), missing]
    source = {
        "kind": "model",
        "name": "own",
        "source": "<script>alert(1)</script>",
        "revision": "",
        "licence": "",
    }
    parsed = Page()
    parsed.feed(main_page.render(study, "tiny", scores, figures, {"origins": [source]}))
    assert figure.stem.startswith("overview")
    beside = [f"figures/{path.stem}.{suffix}" for path in figures for suffix in ("svg", "png")]
    assert [name for name in parsed.loaded if name.partition("#")[0] != "provenance.html"] == beside
    # the explorer's data, two libraries and the page's own script
    assert parsed.tags.count("script") == 4
    assert "<script>alert(1)</script>" in parsed.text
    assert "Yorùbá <b>" not in parsed.tags
    assert str(missing) in parsed.text
    assert str(scores[0]) not in parsed.text


COST = {
    "wall_seconds": 1.5, "cpu_seconds": 1.0, "gpus": 0, "gpu_seconds": 0.0, "peak_memory_bytes": 1,
    "queue_seconds": None,
}  # fmt: skip


def run_record(stage, cell, reads):
    code = "0123456789ab"
    return {
        "stage": stage, "cell": {"stage": stage, **cell}, "reads": reads, "code": code, "code_version": code,
        "fingerprint": cache.fingerprint({"stage": stage, **cell}, code, reads), "acceptances": [],
        "commit": "c" * 40, "dirty": False, "lock": None, "host": "h", "python": "3.12", "job": None,
        "started": "2026-01-01T10:00:00+00:00", "cost": COST,
    }  # fmt: skip


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Builds a results folder with score records and measured tables of the checkpoints with ``betas``."""

    def build(betas=("none", "0", "0.1"), failed=()):
        files = score_records.study(tmp_path / "results/scores", n=40)
        files = [path for path in files if path.name.split("_")[0] in betas]
        checksums = {}
        for path in files:
            cell = score_records.records.metadata(path)["cell"]
            entries = {
                **run_record("score", cell, {}),
                "checkpoint": "a" * 64,
                "device": "cpu",
                "questions": 40,
            }
            if path.stem in failed:
                holes.failures.write(path, run_record("score", cell, {}), holes.DIVERGED)
                checksums[str(path)] = holes.failures.content(score_records.records.metadata(path))
                continue
            table = score_records.records.read_scores(path)
            checksums[str(path)] = score_records.records.write(
                path, table, score_records.records.SCORE, entries
            )
        study = tmp_path / "results/studies/s"
        measured.write_tables(files, study, **run_record("measure", {"settings": {}}, checksums))
        return study, files

    monkeypatch.setattr(code_versions, "code_version", lambda stage: "0123456789ab")
    return build


def dead_links(study, name):
    """The links of a page of the study whose target does not exist."""
    pages = {}
    for file in ("report.html", "provenance.html"):
        pages[file] = Page()
        pages[file].feed((study / file).read_text())
    dead = []
    for link in pages[name].links:
        file, _, anchor = link.partition("#")
        target = pages.get(file or name)
        if not (study / file).exists() or (anchor and (target is None or anchor not in target.ids)):
            dead.append(link)
    return dead


def written_by(study, files):
    out = study / "report.html"
    cell = {"languages": {"en": "English"}, "origins": []}
    stamp = FixedStamp(**run_record("report", cell, {}))
    tables = sorted(study.glob("*.parquet"))
    shown = {"measured": tables, "scores": files, "conversations": []}
    assert {"cells.parquet", "manifests"} <= set(page.input_checksums(cell, **shown))
    return out, page.report(cell, **shown, out=out, stamp=stamp)


def test_the_stage_writes_tables_figures_page_and_manifest(results):
    study, files = results()
    (study / "figures").mkdir()
    (study / "figures/overview-old.png").write_text("from another configuration")
    out, further = written_by(study, files)
    assert len(further) == len(set(further))
    assert all(path.is_file() and study in path.parents for path in further)
    assert not (study / "figures/overview-old.png").exists()
    on_disk = {path for folder in ("tables", "figures", "provenance") for path in (study / folder).iterdir()}
    assert set(further) == on_disk | {study / "provenance.html"}
    manifest = json.loads((study / "provenance/report.json").read_text())
    assert manifest["stage"] == "report"
    listed = {study / name for name in manifest["files"]}
    unlisted = {study / "provenance" / name for name in ("report.json", "landing.yaml")}
    assert listed == {out, *further} - unlisted
    parsed = Page()
    parsed.feed(out.read_text())
    assert dead_links(study, "report.html") == dead_links(study, "provenance.html") == []
    assert any(link.startswith("provenance.html#row-") for link in parsed.links)


def test_a_study_without_tuning_has_a_page_and_a_folder_without_figures(results):
    study, files = results(betas=("none",))
    _, further = written_by(study, files)
    assert [path.name for path in (study / "figures").iterdir()] == [draw.CAPTIONS]
    assert study / "figures" / draw.CAPTIONS in further


def test_a_study_with_a_failed_record_is_reported_with_it(results, monkeypatch):
    study, files = results(failed=("0.1_42_yo",))
    drawings.draw_only(monkeypatch, "overview")
    out, further = written_by(study, files)
    assert {study / "tables/holes.csv", study / "tables/holes.md"} <= set(further)
    parsed = Page()
    parsed.feed(out.read_text())
    assert "1 of 12 cells have no result" in parsed.text
    assert holes.DIVERGED.reason in parsed.text
    assert dead_links(study, "report.html") == dead_links(study, "provenance.html") == []
    assert "#holes" in parsed.links
    # the failed record is one of the results behind the tables
    assert "results/scores/0.1_42_yo.parquet" in (study / "provenance.html").read_text()
