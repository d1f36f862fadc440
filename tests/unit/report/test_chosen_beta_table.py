"""The page's table about choosing β, from measured tables of an invented study."""

import pandas as pd

from polycal.report import chosen_beta_table
from polycal.report.study_tables import StudyTables


def test_a_row_per_model_and_data_set_with_what_was_measured(study):
    [row] = chosen_beta_table.chosen_beta(study).to_dict("records")
    assert row["Model"] == "llama"
    assert "Seed" not in row
    measured = study["chosen_beta"].query("language == 'mean'").set_index(["chosen_on", "method"])
    assert row["ECE, β = 0"].startswith(f"{measured.ece['none', 'unsmoothed']:.3f} [")
    for choice, title in chosen_beta_table.TITLES.items():
        assert row[title].startswith(f"{100 * measured.relative_ece_reduction[choice]:.0f}% [")
    temperature = measured.temperature["english", "temperature"]
    assert row["One temperature, β = 0"].endswith(f", T = {temperature:.2f}")
    own = study["chosen_beta"].query("language != 'mean' and chosen_on == 'language'")
    served = row["Does the β of English serve?"]
    assert served.startswith(f"{(own.english_serves == 'yes').sum()} of 4")
    for verdict in ("no", "unclear"):
        for code in own[own.english_serves == verdict].language:
            assert study.language_name(code) in served.partition(f"{verdict}: ")[2]


def test_many_languages_are_counted_and_few_are_named(study, monkeypatch):
    unclear = study["chosen_beta"].assign(english_serves="unclear")

    def served():
        [row] = chosen_beta_table.chosen_beta(StudyTables({"chosen_beta": unclear}, {})).to_dict("records")
        return row["Does the β of English serve?"]

    assert served().startswith("0 of 4; unclear: ")
    assert served() != "0 of 4; unclear: 4 languages"
    monkeypatch.setattr(chosen_beta_table, "MOST_NAMES", 3)
    assert served() == "0 of 4; unclear: 4 languages"


def test_only_the_mean_over_seeds_is_shown(two_seeds):
    [row] = chosen_beta_table.chosen_beta(two_seeds).to_dict("records")
    means = two_seeds["chosen_beta"].query("seed == 'all' and language == 'mean' and method == 'unsmoothed'")
    assert row["ECE, β = 0"].startswith(f"{means.ece.iloc[0]:.3f} [")


def test_a_mean_that_lacks_a_cell_is_marked(study):
    table = study["chosen_beta"]
    lost = table.assign(holes=(table.language == "mean").astype(int), english_serves="")
    [row] = chosen_beta_table.chosen_beta(StudyTables({"chosen_beta": lost}, {})).to_dict("records")
    assert row["ECE, β = 0"] == row["β of English"] == row["One temperature, β = 0"] == "failed"
    assert row["Does the β of English serve?"] == ""


def test_without_a_sweep_there_is_no_table(study):
    empty = StudyTables({"chosen_beta": study["chosen_beta"].head(0)}, {})
    assert chosen_beta_table.chosen_beta(empty).empty
    assert chosen_beta_table.chosen_beta(StudyTables({"cells": pd.DataFrame()}, {})).empty
