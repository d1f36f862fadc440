"""A study with holes: page, tables, figures and sentences name each hole and show no value in its place."""

import re

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from helpers import holes, measured, score_records

from polycal.report import (
    best_beta,
    findings,
    main_page,
    page,
    publish,
    published_findings,
    sensitivity_table,
    study_holes,
    study_tables,
    tables,
)
from polycal.report.figures import calibration, common, draw, known_truth, recalibration, tradeoff
from polycal.report.study_tables import BetaSweep, StudyTables
from polycal.vocabulary import CELL_KEYS

NAMES = {"en": "English", "de": "German", "hi": "Hindi", "yo": "Yoruba"}
SWEEP = BetaSweep("llama", "none", "alpaca", "paper", "42", "mmlu-prox", "texts-0shot")
UNREADABLE = "a value of option_logprob is not finite"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The invented study with β = 0, 0.1 and 0.2 on two data sets.

    On alpaca, β = 0.1 diverged in Yoruba and is not finite in German. On tulu, β = 0.1 was never scored.
    """
    folder = tmp_path_factory.mktemp("holes")
    files, missing = score_records.study(folder / "scores", 40), []
    for path in list(files):
        cell, rows = (
            score_records.records.metadata(path)["cell"],
            score_records.records.read_scores(path).to_pylist(),
        )
        if cell["beta"] == "0.1":
            files.append(
                score_records.write(folder / f"scores/0.2{path.name}", {**cell, "beta": "0.2"}, rows)
            )
            missing.append(holes.missing("0.1", cell["language"], data="tulu", seed="42"))
        if cell["beta"] == "0":
            files.append(
                score_records.write(folder / f"scores/tulu{path.name}", {**cell, "data": "tulu"}, rows)
            )
    holes.fail(folder / "scores", "0.1_42_yo")
    holes.poison(folder / "scores/0.1_42_de.parquet")
    settings = {**score_records.SETTINGS, "truth": score_records.write_truth(folder / "truth", 40)}
    measured.write_tables(files, folder / "study", settings, missing)
    return folder / "study"


@pytest.fixture(scope="module")
def lacking(folder):
    """The tables of the study with holes."""
    return study_tables.read(folder, NAMES)


def test_holes_are_counted_and_grouped_by_reason(lacking):
    assert study_holes.counts(lacking) == ["6 of 24 cells"]
    groups = study_holes.grouped(study_holes.of_study(lacking), [])
    assert [(group["name"], group["languages"]) for group in groups] == [
        ("llama, alpaca, β = 0.1", "de"),
        ("llama, alpaca, β = 0.1", "yo"),
        ("llama, tulu, β = 0.1", "de, en, hi, yo"),
    ]
    assert UNREADABLE in groups[0]["reason"]
    assert groups[1]["reason"] == holes.DIVERGED.reason


def test_a_study_without_holes_has_none(study):
    assert study_holes.counts(study) == []
    assert study_holes.of_study(study).empty
    assert study_holes.of_sweep(study, SWEEP).empty
    assert "have no result" not in main_page.render(study, "whole", [], [], {})
    assert "holes" not in tables.numbers(study)


def test_the_page_names_every_hole_near_its_top_and_shows_failed_in_place_of_a_number(lacking):
    missing = [holes.missing("0.1", "en", data="tulu", seed="42"), holes.missing("0.3", "en", seed="42")]
    text = main_page.render(lacking, "tiny", missing, [], {})
    section = text[: text.index('id="claims"')]
    assert "6 of 24 cells have no result" in section
    for words in (
        "llama, alpaca, β = 0.1",
        holes.DIVERGED.reason,
        UNREADABLE,
        "its record is missing",
        "finetune",
    ):
        assert words in section
    found = re.findall(r'<a class="failed" href="#holes" title="([^"]*)">failed</a>', text)
    assert any(f"β = 0.1, yo: {holes.DIVERGED.reason}" in title for title in found)
    assert not [title for title in found if not title]
    # a record in the table of holes is not listed a second time
    listed = text[text.index("<h2>Missing</h2>") :]
    assert str(missing[1]) in listed
    assert str(missing[0]) not in listed


def test_table_one_shows_failed_where_a_mean_lacks_a_language(lacking):
    table = tables.table_one(lacking).set_index(["Data", "Setting"])
    row = table.loc[("alpaca", "β = 0.1")]
    assert row["Languages"] == "2 of 4"
    assert set(row[["Accuracy", "Δ Accuracy", "Confidence", "ECE", "Δ ECE", "RMS", "Δ RMS"]]) == {"failed"}
    assert table.loc[("tulu", "β = 0.1"), "Languages"] == "0 of 4"
    assert table.loc[("tulu", "β = 0.1"), "ECE"] == "failed"
    assert "failed" not in set(table.loc[("alpaca", "β = 0.2")])
    assert table.loc[("alpaca", "β = 0"), "Δ ECE"] == ""
    full = tables.numbers(lacking).set_index(["data", "beta"])
    assert full.loc[("alpaca", "0.1"), "holes"] == 2
    compared = tables.data_sets(lacking).set_index("Setting")
    assert compared.loc["β = 0.1", "Δ ECE"] == "failed"
    assert compared.loc["β = 0", "Δ ECE"] != "failed"


def test_tables_by_language_and_the_table_of_holes_are_written(lacking, tmp_path):
    wide = tables.by_language(lacking, "mmlu-prox", "ece").set_index("Language")
    column = wide["alpaca, β = 0.1"]
    assert {name for name, value in column.items() if value == "failed"} == {
        "German", "Yoruba", "mean", "mean, high", "mean, low"
    }  # fmt: skip
    assert set(wide["tulu, β = 0.1"]) == {"failed"}
    cells = lacking["cells"]
    assert column["English"] == cells[(cells.beta == "0.1") & (cells.language == "en")].ece.iloc[0]
    written = {path.name for path in tables.write(lacking, tmp_path)}
    assert {"holes.csv", "holes.md"} <= written
    assert len(pd.read_csv(tmp_path / "holes.csv")) == 6
    assert "| failed |" in (tmp_path / "mmlu-prox-ece.md").read_text()


def test_claims_say_what_was_not_compared_and_never_agree_wholly(lacking):
    checks = {check.claim: check for check in findings.claim_checks(lacking)}
    lowers = next(check for claim, check in checks.items() if "β = 0.1 lowers" in claim)
    assert lowers.agrees == "unknown"
    assert "because results are missing" in lowers.measured
    assert next(check for claim, check in checks.items() if "β = 0.2 lowers" in claim).agrees != "unknown"
    contrasts = lacking["contrasts"]
    pair = (contrasts.data == "alpaca") & (contrasts.contrast == "smoothed_minus_unsmoothed")
    mean = pair & (contrasts.language == "mean") & (contrasts.beta == "0.1")
    there = {"holes": 0, "relative_ece_reduction": 0.5, "relative_ece_reduction_low": 0.4,
             "relative_ece_reduction_high": 0.6, "difference": 0.0, "low": 0.0, "high": 0.0}  # fmt: skip
    changed = contrasts.assign(**{key: contrasts[key].mask(mean, value) for key, value in there.items()})
    checks = findings.claim_checks(StudyTables({**lacking.tables, "contrasts": changed}, {}))
    lowers = next(check for check in checks if "β = 0.1 lowers" in check.claim)
    assert lowers.measured.endswith("llama on alpaca 50% [40, 60]; llama on tulu failed.")
    assert lowers.agrees == "partly"
    [paragraph] = findings.summary(lacking)
    assert "With β = 0.1: no mean, because cells are missing." in paragraph
    assert "mean over 4 languages" in paragraph


def test_a_comparison_with_a_missing_cell_is_counted_as_such(tmp_path):
    files = score_records.study(tmp_path / "scores", 40)
    holes.fail(tmp_path / "scores", "0_42_yo")
    measured.write_tables(files, tmp_path / "study")
    lacking = study_tables.read(tmp_path / "study", NAMES)
    checks = {check.claim[:6]: check for check in findings.claim_checks(lacking)}
    assert "of 3 cells" in checks["Tuning"].measured
    assert all("Not compared, because a result is missing: 1." in check.measured
               for check in findings.claim_checks(lacking) if check.claim.startswith("Tuning"))  # fmt: skip
    assert all(check.agrees != "yes" for check in findings.claim_checks(lacking))


def test_conventions_count_the_comparisons_that_failed(lacking):
    table = sensitivity_table.conventions(lacking).set_index(["Claim", "β"])
    assert table.loc[("Smoothing cuts ECE", "0.1"), "Holds"] == "2 failed"
    assert table.loc[("Smoothing cuts ECE", "0.1"), "Median"] == ""
    assert re.fullmatch(r"\d+ of \d+", table.loc[("Smoothing cuts ECE", "0.2"), "Holds"])


def test_there_is_no_best_beta_where_a_checkpoint_is_missing(lacking):
    table = best_beta.best_beta(lacking)
    table = table[table.data == "alpaca"].set_index("language").best_beta
    assert table[["de", "yo", best_beta.MEAN]].tolist() == ["failed"] * 3
    assert "failed" not in set(table[["en", "hi"]])


def texts(figure):
    found = [text.get_text() for axis in figure.axes for text in axis.texts]
    return found, " ".join(" ".join(text.get_text().split()) for text in figure.texts)


def test_every_figure_names_the_cells_that_it_cannot_show(lacking):
    drawings = draw.drawings(lacking)
    assert any(name.startswith("truth") for name in drawings)
    for name, make in drawings.items():
        figure = make()
        note = texts(figure)[1]
        assert "Failed cells, not shown here" in note, name
        named = (
            "tulu, β = 0.1, de, en, hi, yo (its record is"
            if "tulu" in name
            else "alpaca, β = 0.1, yo (training"
        )
        assert f"llama, {named}" in note, name
        plt.close(figure)


def test_rows_of_a_language_mark_the_failed_setting(lacking):
    for figure in (
        calibration.overview(lacking, "mmlu-prox", "texts-0shot"),
        calibration.ece_by_language(lacking, SWEEP),
    ):
        marked, _ = texts(figure)
        assert marked.count("β = 0.1: failed") in (2, 6)
        plt.close(figure)
    floors = calibration.ece_by_language(lacking, SWEEP).axes[0].collections[-1].get_offsets()
    # a noise floor is the mean over the settings of a language, and all of them must exist
    assert floors.mask[:, 0].tolist() == [True, False, False, True]


def test_a_reliability_diagram_of_a_hole_says_failed(lacking):
    figure = calibration.reliability(lacking, SWEEP)
    assert texts(figure)[0].count("failed") == 2


def test_no_line_is_drawn_across_a_hole(lacking):
    assert common.unbroken(pd.Series([1.0, None, 2.0, 3.0, None])) == [slice(0, 1), slice(2, 4)]
    assert common.unbroken(pd.Series([1.0, 2.0])) == [slice(0, 2)]
    assert common.unbroken(pd.Series([], dtype=float)) == []
    figure = tradeoff.ece_and_accuracy(lacking, SWEEP)
    by_title = {axis.get_title(): axis for axis in figure.axes if axis.get_title()}
    # β = 0, 0.1 and 0.2 are one line of three points, or two lines of one point if β = 0.1 is missing
    paths = {
        title: sorted(len(line.get_xdata()) for line in axis.lines if line.get_linestyle() == "-")
        for title, axis in by_title.items()
    }
    assert paths["English"] == paths["Hindi"] == [3]
    assert paths["German"] == paths["Yoruba"] == paths["mean over languages"] == [1, 1]
    assert "β = 0.1: failed" in [text.get_text() for text in by_title["German"].texts]
    truth = known_truth.against_truth(lacking, "mmlu-prox", "texts-0shot")
    lines = [list(line.get_xdata()) for line in truth.axes[0].lines if line.get_linestyle() == "-"]
    assert lines == [[0, 1], [3], [0, 1], [3]]


def test_a_mean_that_lacks_a_language_is_not_drawn(lacking):
    figure = recalibration.mean_ece(lacking, "mmlu-prox", "texts-0shot")
    for container in figure.axes[0].containers:
        shown = pd.Series(container[0].get_ydata()).notna().tolist()
        assert shown == [True, True, False, True] or not any(shown)


def test_means_are_complete_or_nothing():
    rows = pd.DataFrame({"beta": ["0", "0", "0.1", "0.1"], "ece": [0.1, 0.3, 0.2, None]})
    means = study_tables.complete_means(rows, "beta", ["ece"]).ece
    assert means["0"] == pytest.approx(0.2)
    assert pd.isna(means["0.1"])


def test_a_study_with_holes_is_not_published(folder, tmp_path):
    readme = tmp_path / "README.md"
    begin, end = publish.marks("study")
    readme.write_text(f"{begin}\nold\n{end}\n")
    document = tmp_path / "results.md"
    document.write_text("".join("\n".join(publish.marks(name)) for name in published_findings.TABLES))
    before = readme.read_text()
    with pytest.raises(publish.PublicationError) as error:
        publish.publish(folder, tmp_path / "out", readme, document)
    assert re.fullmatch(
        r".*: 6 of 24 cells have no result, such as llama, none, alpaca, paper, 0\.1, 42, mmlu-prox, texts-0shot, de"
        r" \(measure: .*a value of option_logprob is not finite; every value must be a finite number\); publish a study"
        r" without missing cells\.",
        str(error.value),
    )
    assert readme.read_text() == before
    assert not (tmp_path / "out").exists()


def test_embeddings_and_next_tokens_that_are_missing_are_named_too(probed_study):
    keys = list(CELL_KEYS)
    cell = probed_study["diversity"][keys].iloc[-1].to_dict()
    lost = {"stage": "embed", "reason": "the model overflowed."}
    tables = {
        **probed_study.tables,
        "embedding_holes": pd.DataFrame([{**cell, "beta": "0.2", **lost}]),
        "next_token_holes": pd.DataFrame(
            [{**cell, "beta": "0.2", "benchmark": "h", "language": "all", **lost}]
        ),
    }
    lacking = StudyTables(tables, {})
    assert study_holes.counts(lacking) == ["1 of 11 embeddings", "1 of 6 next-token scores"]
    named = {}
    for name, make in draw.drawings(lacking).items():
        if name.startswith(("diversity", "nexttoken", "ablation")):
            figure = make()
            named[name.partition("-")[0]] = texts(figure)[1]
            plt.close(figure)
    assert "Failed cells" not in named["ablation"]
    assert "m, t-balanced, β = 0.2, yo (the model overflowed)" in named["diversity"]
    assert "m, t-balanced, β = 0.2 (the model overflowed)" in named["nexttoken"]
    assert [group["languages"] for group in study_holes.grouped(study_holes.of_study(lacking), [])] == [
        "yo",
        "",
    ]


def test_a_note_lists_few_groups_and_draws_no_box_for_a_letter(lacking):
    row = study_holes.of_study(lacking).iloc[0]
    many = pd.DataFrame([{**row, "reason": f"reason {number} \u1ecd\u4e2d."} for number in range(12)])
    figure = plt.figure()
    common.name_holes(figure, many, [])
    note = texts(figure)[1]
    assert "reason 7 \u1ecd?" in note
    assert "reason 8" not in note
    assert note.endswith("and 4 more, which tables/holes.csv lists.")
    plt.close(figure)


@pytest.mark.parametrize(
    "kept",
    [
        lambda beta, language: beta != "none",
        lambda beta, language: beta != "0",
        lambda beta, language: language != "en",
        lambda beta, language: (beta, language) == ("0.1", "hi"),
        lambda beta, language: beta == "none",
    ],
    ids=["no base", "no unsmoothed", "no English", "one cell", "base only"],
)
def test_whatever_is_missing_there_are_tables_figures_and_a_page(tmp_path, kept):
    files, lost = score_records.study(tmp_path / "scores", 25), []
    for path in files:
        beta, _, language = path.stem.split("_")
        if not kept(beta, language):
            lost.append(path.stem)
    holes.fail(tmp_path / "scores", *lost)
    settings = {
        **score_records.SETTINGS,
        "bootstrap_samples": 20,
        "truth": score_records.write_truth(tmp_path / "t", 25),
    }
    measured.write_tables(files, tmp_path / "study", settings)
    lacking = study_tables.read(tmp_path / "study", NAMES)
    tables.write(lacking, tmp_path / "tables", page.further_tables(lacking))
    for name, make in draw.drawings(lacking).items():
        figure = make()
        assert "Failed cells, not shown here" in texts(figure)[1], name
        with open(tmp_path / "figure.png", "wb") as file:
            figure.savefig(file, dpi=40)
        plt.close(figure)
    text = main_page.render(lacking, "tiny", files, [], {})
    assert f"{len(lost)} of 12 cells have no result" in text
    wide = tables.by_language(lacking, "mmlu-prox", "ece")
    assert sum((wide[wide.Code != ""] == "failed").sum()) == len(lost)
    assert not wide.isna().any(axis=None)
