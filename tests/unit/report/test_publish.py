"""Publishing a study, with tables measured on invented records."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from helpers import drawings, measured, score_records

from polycal.artifacts import records
from polycal.report import publish, published_findings, study_tables, tables
from polycal.report.figures import draw
from polycal.report.table_formats import markdown
from polycal.study import detectable, paths

FACTS = {"fingerprint": "f" * 64, "commit": "c" * 40, "code_version": "abc", "dirty": False}


def finish_study(folder, monkeypatch, seeds):
    """Write a finished study with records at their usual paths, a README and results to a folder."""
    monkeypatch.chdir(folder)
    files = []
    for path in score_records.study(folder / "invented", n=60, seeds=seeds):
        metadata, table = records.metadata(path), records.read_scores(path)
        record = Path(paths.SCORES.format(**metadata["cell"]))
        record.parent.mkdir(parents=True)
        records.write(record, table, records.SCORE, {**metadata, **FACTS})
        files.append(record)
    measured.write_tables(files, folder / "study", **FACTS)
    study = study_tables.read(folder / "study", {})
    tables.write(study, folder / "study/tables")
    drawings.draw_only(monkeypatch, "overview")
    draw.draw(study, folder / "study/figures")
    begin, end = publish.marks("study")
    (folder / "README.md").write_text(f"# Before\n\n{begin}\nold\n{end}\n\nAfter\n")
    (folder / "results.md").write_text(
        "\n".join("\nbefore\n".join(publish.marks(name)) for name in published_findings.TABLES)
    )


def places(folder):
    """The study, the folder to publish to, README and results."""
    return folder / "study", folder / "reference/tiny", folder / "README.md", folder / "results.md"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as monkeypatch:
        finish_study(folder, monkeypatch, ("1", "2"))
    return folder


@pytest.fixture
def finished(made, tmp_path, monkeypatch):
    """``places`` of a copy of the study with two seeds."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return places(tmp_path)


def test_a_study_of_one_seed_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    finish_study(tmp_path, monkeypatch, ("42",))
    folder, out, readme, results = places(tmp_path)
    before = readme.read_text(), results.read_text()
    with pytest.raises(publish.PublicationError) as error:
        publish.publish(folder, out, readme, results)
    assert str(error.value) == (
        f"{folder}: llama was tuned on alpaca with one seed, so its intervals do not cover other trainings; publish a"
        " study of several seeds, which 'make study' makes."
    )
    assert (readme.read_text(), results.read_text()) == before
    assert not out.exists()


def test_cells_of_every_seed_and_the_variances_are_published(finished):
    folder, out, _, _ = finished
    copied = publish.publish(*finished)
    assert {out / "cells.csv", out / "variances.csv"} <= set(copied)
    cells = study_tables.read(folder, {})["cells"]
    written = pd.read_csv(out / "cells.csv", dtype={"beta": str, "seed": str}, keep_default_na=False)
    assert len(written) == len(cells) == (1 + 2 * 2) * 4
    assert written[["beta", "seed"]].to_numpy().tolist() == cells[["beta", "seed"]].to_numpy().tolist()
    assert written.ece.to_numpy(float) == pytest.approx(cells.ece.to_numpy(), rel=1e-6)
    assert written.beta_value[written.beta == "0.1"].astype(float).unique().tolist() == [0.1]
    assert (written.beta_value[written.beta == "none"] == "").all()
    # the published variances are those that a plan reads from the study itself
    pd.testing.assert_frame_equal(detectable.variances(out), detectable.variances(folder))


def test_figure_table_and_provenance_are_published(finished):
    folder, out, readme, _ = finished
    publish.publish(*finished)
    text = readme.read_text()
    assert text.startswith("# Before\n")
    assert text.endswith("\n\nAfter\n")
    assert "old" not in text
    assert "Measured at commit ccccccc." in text
    mean = (
        study_tables.read(folder, {})["means"]
        .query("group == 'all' and beta == '0.1' and seed == 'all'")
        .iloc[0]
    )
    assert f"| {mean.ece:.3f} ({mean.accuracy:.3f}) |" in text
    published = json.loads((out / "provenance.json").read_text())
    files = {path.as_posix() for path in folder.parent.glob("results/scores/**/*.parquet")}
    assert {(folder.parent / one["path"]).as_posix() for one in published["scores"]} == files
    assert all(one["content"] == records.metadata(one["path"])["content"] for one in published["scores"])
    assert "means.parquet" in published["measured"]
    assert (out / "table1.md").read_bytes() == (folder / "tables/table1.md").read_bytes()
    overview = out / "overview-mmlu-prox-texts-0shot.png"
    assert list(out.glob("overview-*.png")) == [overview]
    assert overview.read_bytes() == (folder / "figures/overview-all-mmlu-prox-texts-0shot.png").read_bytes()
    assert {"1", "2", "all"} <= set(pd.read_csv(out / "table1.csv", dtype=str).seed)
    # publishing again changes nothing
    publish.publish(*finished)
    assert readme.read_text() == text


def test_a_readme_without_marks_is_refused_and_left_alone(finished):
    finished[2].write_text("# None\n")
    with pytest.raises(publish.PublicationError, match="no place for the table"):
        publish.publish(*finished)
    assert finished[2].read_text() == "# None\n"
    assert not finished[1].exists()


def test_records_of_uncommitted_code_are_refused(finished):
    path = next(finished[0].parent.glob("results/scores/**/*.parquet"))
    records.write(path, records.read_scores(path), records.SCORE, {**records.metadata(path), "dirty": True})
    with pytest.raises(publish.PublicationError, match="made by uncommitted code, as were 0 more"):
        publish.publish(*finished)
    assert not finished[1].exists()


def test_an_unfinished_study_is_refused(finished):
    (finished[0] / "tables/table1.md").unlink()
    with pytest.raises(publish.PublicationError, match=r"table1\.md is missing; run the study"):
        publish.publish(*finished)


def test_findings_are_published_as_numbers_and_as_texts(finished):
    folder, out, _, results = finished
    copied = publish.publish(*finished)
    study = study_tables.read(folder, {})
    text = results.read_text()
    assert "before" not in text
    assert text.count("Measured at commit ccccccc.") == len(published_findings.TABLES)
    for name in published_findings.TABLES:
        assert out / f"{name}.csv" in copied
        types = str if name == "conventions" else {"beta": str}
        numbers = pd.read_csv(out / f"{name}.csv", dtype=types, keep_default_na=False)
        begin, end = publish.marks(name)
        shown = text[text.index(begin) + len(begin) + 1 : text.index(end)]
        assert shown.startswith(markdown(published_findings.as_texts(name, numbers)))
    smoothing = pd.read_csv(out / "smoothing.csv", dtype={"beta": str})
    contrasts = study["contrasts"].query(
        "contrast == 'smoothed_minus_unsmoothed' and metric == 'ece' and seed == 'all'"
    )
    for row in smoothing.to_dict("records"):
        same = contrasts[(contrasts.data == row["data"]) & (contrasts.beta == row["beta"])]
        languages = same[same.language != "mean"]
        assert row["languages"] == len(languages)
        assert row["ece_fell"] == (languages.difference < 0).sum()
        assert row["ece_fell_surely"] == ((languages.difference < 0) & (languages.q < 0.05)).sum()
        [mean] = same[same.language == "mean"].relative_ece_reduction
        assert row["relative_ece_reduction"] == pytest.approx(mean)


def test_a_document_without_a_mark_is_refused_before_anything_is_written(finished):
    _, out, readme, results = finished
    before = readme.read_text()
    results.write_text(results.read_text().replace(publish.marks("tuning")[1], ""))
    with pytest.raises(
        publish.PublicationError, match=r"results\.md: no place for the table; .* tuning: begin"
    ):
        publish.publish(*finished)
    assert readme.read_text() == before
    assert not out.exists()


def test_the_accuracy_of_base_models_is_published(finished):
    folder, out, _, _ = finished
    assert out / "base.csv" in publish.publish(*finished)
    base = pd.read_csv(out / "base.csv", keep_default_na=False)
    cells = study_tables.read(folder, {})["cells"].query("data == 'none'").set_index("language")
    whole = base[base.group == "all"].set_index("language")
    assert whole.accuracy.astype(float).to_dict() == pytest.approx(cells.accuracy.to_dict(), rel=1e-6)
    assert set(whole.equal_to_english) == {""}


def test_two_studies_can_have_their_tables_in_one_document(finished):
    folder, out, readme, results = finished
    marks = [publish.marks(f"real-{name}") for name in ("study", *published_findings.TABLES)]
    document = folder.parent / "real.md"
    document.write_text("\n".join("\nbefore\n".join(pair) for pair in marks))
    before = readme.read_text(), results.read_text()
    with pytest.raises(publish.PublicationError, match=r"no place for the table; .* study: begin"):
        publish.publish(folder, out, document, document)
    publish.publish(folder, out, document, document, prefix="real-")
    assert (readme.read_text(), results.read_text()) == before
    text = document.read_text()
    assert "before" not in text
    assert text.count("Measured at commit ccccccc.") == len(marks)


def test_languages_whose_base_model_guesses_are_not_counted(two_seeds):
    cells = two_seeds["cells"]
    cells = cells.assign(above_chance=~((cells.data == "none") & (cells.language == "yo")))
    study = study_tables.StudyTables({**two_seeds.tables, "cells": cells}, {}).over_trainings()
    for table, found in ((published_findings.tuning, "gap_rose"), (published_findings.smoothing, "ece_fell")):
        all_languages, some = table(two_seeds.over_trainings()), table(study)
        assert (some.languages == all_languages.languages - 1).all()
        assert (some[found] <= some.languages).all()
        same = [name for name in some if name != "languages" and not name.startswith(found)]
        pd.testing.assert_frame_equal(some[same], all_languages[same])
