"""What the README shows of a study, from tables measured on invented records."""

import json
from pathlib import Path

import pytest
from helpers.score_records import SETTINGS, study
from helpers.stamps import FixedStamp

from polycal.analysis import measure
from polycal.artifacts import records
from polycal.report import publish, study_tables, tables
from polycal.report.figures import draw

NOTE = {"fingerprint": "f" * 64, "commit": "c" * 40, "code_version": "abc", "dirty": False}


@pytest.fixture
def finished(tmp_path):
    files = study(tmp_path / "scores")
    for path in files:
        note = records.metadata(path)
        table = records.read_scores(path)
        records.write(path, table, records.SCORE, {**note, **NOTE})
    folder = tmp_path / "study"
    measure.measure({"settings": SETTINGS}, scores=files, out=folder, stamp=FixedStamp(**NOTE))
    found = study_tables.read(folder, {})
    tables.write(found, folder / "tables")
    draw.draw(found, folder / "figures")
    readme = tmp_path / "README.md"
    readme.write_text(f"# Before\n\n{publish.BEGIN}\nold\n{publish.END}\n\nAfter\n")
    return found, folder, [Path(f) for f in files], tmp_path / "reference", readme


def test_table_figure_and_provenance_stand_where_readers_look(finished):
    found, folder, files, out, readme = finished
    publish.publish(*finished)
    text = readme.read_text()
    assert text.startswith("# Before\n")
    assert text.endswith("\n\nAfter\n")
    assert "old" not in text
    assert "Measured at commit ccccccc." in text
    mean = found["means"].query("group == 'all' and beta == '0.1'").iloc[0]
    assert f"| {mean.ece:.3f} ({mean.accuracy:.3f}) |" in text
    told = json.loads((out / "provenance.json").read_text())
    assert {one["path"] for one in told["scores"]} == {path.as_posix() for path in files}
    assert all(one["content"] == records.metadata(one["path"])["content"] for one in told["scores"])
    assert "means.parquet" in told["measured"]
    assert (out / "table1.md").read_bytes() == (folder / "tables/table1.md").read_bytes()
    # a second time changes nothing
    publish.publish(*finished)
    assert readme.read_text() == text


def test_a_readme_without_marks_is_refused_and_left_alone(finished):
    finished[-1].write_text("# None\n")
    with pytest.raises(publish.PublicationError, match="no place for the table"):
        publish.publish(*finished)
    assert finished[-1].read_text() == "# None\n"
    assert not finished[3].exists()


def test_records_of_uncommitted_code_are_refused(finished):
    path = finished[2][0]
    records.write(path, records.read_scores(path), records.SCORE, {**records.metadata(path), "dirty": True})
    with pytest.raises(publish.PublicationError, match="made by uncommitted code, as were 0 more"):
        publish.publish(*finished)
    assert not finished[3].exists()


def test_an_unfinished_study_is_refused(finished):
    (finished[1] / "tables/table1.md").unlink()
    with pytest.raises(publish.PublicationError, match=r"table1\.md is missing; run the study"):
        publish.publish(*finished)
