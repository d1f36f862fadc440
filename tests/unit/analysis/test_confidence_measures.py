"""Measures of confidence of constructed studies: a model that is right with a known probability."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.holes import fail
from helpers.measured import write_tables
from helpers.score_records import LANGUAGES, SETTINGS, cell, score_row, study, write

from polycal.analysis import confidence_measures
from polycal.analysis.confidence_measures import BINNED, RANKED, SAID
from polycal.artifacts import follow_ups, records
from polycal.metrics import calibration, selective_prediction

METRICS = tuple(name for name in (*BINNED, *RANKED) if name not in SAID)


def confidences(files, out, **settings):
    write_tables(files, out, {**SETTINGS, **settings})
    return pd.read_parquet(out / "confidences.parquet")


def constructed(folder, languages, n, right=0.7, seed=0):
    """Records of models that are right with probability ``right`` in each language on its own.

    The likelihood says 0.9 whatever the question. Of a wrong answer every wrong option is equally likely.
    """
    rng, files = np.random.default_rng(seed), []
    gold = rng.integers(0, 4, n)
    for language in languages:
        wrong = (gold + rng.integers(1, 4, n)) % 4
        chosen = np.where(rng.random(n) < right, gold, wrong)
        rows = []
        for number, option in enumerate(chosen):
            logprob = np.full(4, np.log(0.1 / 3))
            logprob[option] = np.log(0.9)
            rows.append(score_row(f"q{number}", logprob.tolist(), int(gold[number])))
        files.append(write(folder / f"{language}.parquet", cell("none", language), rows))
    return files


def test_a_model_that_says_nine_tenths_and_is_right_less_often_shows_it(tmp_path):
    table = confidences(constructed(tmp_path, LANGUAGES, 4000), tmp_path / "out", bootstrap_samples=100)
    rows = table[table.language == "en"].set_index("measure")
    likelihood, agreement = rows.loc["likelihood"], rows.loc["agreement"]
    # Independent languages agree on the right option with p, and on one of the wrong options with (1 − p) / 3.
    p = 0.7
    expected = p * p + (1 - p) * (1 - p) / 3
    assert likelihood.accuracy == agreement.accuracy == pytest.approx(p, abs=0.025)
    assert (likelihood.confidence, likelihood.gap) == pytest.approx(
        (0.9, 0.9 - likelihood.accuracy), abs=1e-7
    )
    assert likelihood.ece == pytest.approx(0.9 - likelihood.accuracy, abs=1e-7)
    # All likelihoods are equal but for rounding, so they separate nothing.
    assert likelihood.auroc == pytest.approx(0.5, abs=0.01)
    assert agreement.spearman == pytest.approx(0, abs=0.05)
    assert agreement.confidence == pytest.approx(expected, abs=0.02)
    assert agreement.confidence_low < expected < agreement.confidence_high
    # A right answer has binomial(3, p) / 3 others, a wrong one binomial(3, (1 − p) / 3) / 3.
    pairs = [binomial(3, p)[i] * binomial(3, 0.1)[j] for i in range(4) for j in range(i)]
    ties = sum(binomial(3, p)[i] * binomial(3, 0.1)[i] for i in range(4))
    assert agreement.auroc == pytest.approx(sum(pairs) + ties / 2, abs=0.01)
    assert agreement.auroc_low < agreement.auroc < agreement.auroc_high
    assert (agreement.n, agreement.others, agreement.left_out) == (4000, 3, 0)


def binomial(n, p):
    return [[1, 3, 3, 1][k] * p**k * (1 - p) ** (n - k) for k in range(n + 1)]


def test_metrics_are_those_of_the_library(tmp_path):
    files = constructed(tmp_path, LANGUAGES, 60)
    table = confidences(files, tmp_path / "out").query("language == 'hi' and measure == 'agreement'").iloc[0]
    logprob, gold = [], []
    for path in files:
        rows = pd.read_parquet(path)
        logprob.append(np.array(rows.option_logprob.to_list()).argmax(1))
        gold = rows.gold.to_numpy()
    hindi = list(LANGUAGES).index("hi")
    share = np.mean(
        [np.array(one) == logprob[hindi] for at, one in enumerate(logprob) if at != hindi], axis=0
    )
    correct = (logprob[hindi] == gold).astype(float)
    assert table.ece == pytest.approx(calibration.ece(share, correct), abs=1e-14)
    assert table.auroc == pytest.approx(selective_prediction.auroc(share, correct), abs=1e-14)
    area = selective_prediction.accuracy_coverage_area(share, correct)
    assert table.auarc == pytest.approx(area, abs=1e-13)
    assert table.binary_brier == pytest.approx(((share - correct) ** 2).mean(), abs=1e-14)


def test_every_metric_lies_in_its_interval_and_means_are_unweighted(tmp_path):
    table = confidences(study(tmp_path / "scores"), tmp_path / "out")
    assert set(table.language) == {*LANGUAGES, "mean"}
    for metric in METRICS:
        known = table.dropna(subset=[metric])
        assert len(known) == len(table) / (2 if metric == "spearman" else 1)
        assert (known[f"{metric}_low"] <= known[metric]).all(), metric
        assert (known[metric] <= known[f"{metric}_high"]).all(), metric
    assert table[list(SAID)].isna().all(axis=None)
    cells = table[(table.beta == "0") & (table.measure == "agreement")]
    for level in ("all", "high", "low"):
        [mean] = cells[(cells.language == "mean") & (cells.resource == level)].auroc
        chosen = cells[(cells.language != "mean") & ((cells.resource == level) | (level == "all"))]
        assert mean == pytest.approx(chosen.auroc.mean(), abs=1e-14)


def test_likelihood_rows_are_those_of_the_cells(tmp_path):
    files = study(tmp_path / "scores", 60)
    table = confidences(files, tmp_path / "out").query("measure == 'likelihood' and language != 'mean'")
    cells = pd.read_parquet(tmp_path / "out" / "cells.parquet")
    for metric in ("accuracy", "confidence", "gap", "ece", "ece_low", "ece_high"):
        assert table[metric].to_list() == pytest.approx(cells[metric].to_list(), abs=1e-14)


def test_a_single_language_has_no_row(tmp_path):
    table = confidences(study(tmp_path / "scores", 20, languages=("en",)), tmp_path / "out")
    assert len(table) == 0
    assert list(table.columns) == list(confidence_measures.COLUMNS)


def test_a_hole_empties_the_mean_of_its_checkpoint_only(tmp_path):
    files = study(tmp_path / "scores", 40)
    fail(tmp_path / "scores", "0_42_yo")
    table = confidences(files, tmp_path / "out")
    lost = table[table.beta == "0"]
    assert set(lost.language) == {"mean"}
    assert (lost.holes == 1).all()
    assert lost[list(METRICS)].isna().all(axis=None)
    assert table[table.beta == "0.1"].accuracy.notna().all()


def test_means_over_seeds_need_every_seed(tmp_path):
    files = study(tmp_path / "scores", 40, seeds=("1", "2", "3"))
    pooled = confidences(files, tmp_path / "out").query("seed == 'all'")
    assert set(pooled.beta) == {"0", "0.1"}
    assert set(pooled.interval_covers) == {"questions, seeds"}
    table = pd.read_parquet(tmp_path / "out" / "confidences.parquet")
    keys = "beta == '0' and language == 'hi' and measure == 'agreement'"
    one = pooled.query(keys).iloc[0]
    seeds = table[table.seed.isin(["1", "2", "3"])].query(keys)
    assert one.ece == pytest.approx(seeds.ece.mean(), abs=1e-14)
    assert (one.n, one.ece_low < one.ece < one.ece_high) == (40, True)
    fail(tmp_path / "scores", "0_2_yo")
    pooled = confidences(files, tmp_path / "again").query("seed == 'all'")
    assert set(pooled.beta) == {"0.1"}


def test_p_true_of_a_model_that_says_what_it_is_worth_and_of_one_that_says_nine_tenths(tmp_path):
    rng, n = np.random.default_rng(3), 4000
    gold = rng.integers(0, 4, n)
    worth = rng.choice([0.35, 0.55, 0.75], n)
    files = []
    for language in ("en", "de"):
        wrong = (gold + rng.integers(1, 4, n)) % 4
        chosen = np.where(rng.random(n) < worth, gold, wrong)
        rows = []
        for number, option in enumerate(chosen):
            said = np.full(4, 0.1)
            said[option] = worth[number] if language == "en" else 0.9
            row = score_row(f"q{number}", np.log(said).tolist(), int(gold[number]), option_tokens=None)
            rows.append(row)
        asked = cell("none", language, settings={"candidates": "true_letters"})
        files.append(write(tmp_path / f"{language}.parquet", asked, rows))
    table = confidences(files, tmp_path / "out", bootstrap_samples=100)
    assert set(table.measure) == {"likelihood", "p_true", "agreement"}
    p_true = table[table.measure == "p_true"].set_index("language")
    honest, sure = p_true.loc["en"], p_true.loc["de"]
    assert honest.confidence == pytest.approx(worth.mean(), abs=1e-6)
    assert honest.gap_low < 0 < honest.gap_high
    assert honest.ece < 0.03
    assert honest.auroc > 0.6
    assert (sure.confidence, sure.ece) == pytest.approx((0.9, 0.9 - sure.accuracy), abs=1e-6)
    assert sure.gap == pytest.approx(0.35, abs=0.03)
    assert sure.auroc == pytest.approx(0.5, abs=0.02)
    cells = pd.read_parquet(tmp_path / "out" / "cells.parquet").set_index("language")
    assert cells.confidence["de"] == pytest.approx(0.9 / 1.2, abs=1e-6)
    sensitivity = pd.read_parquet(tmp_path / "out" / "sensitivity.parquet")
    assert set(sensitivity.normalise) <= {"sum"}


def levels(folder, language, chosen, gold, percent, beta="none"):
    """A record of a model that states ``percent`` of each chosen option, with a tenth beside it."""
    rows = []
    for number, option in enumerate(chosen):
        logprob = np.full(4, np.log(0.1 / 3))
        logprob[option] = np.log(0.9)
        stated = np.full(11, -50.0)
        stated[int(percent[number]) // 10] = np.log(0.5)
        rows.append(
            score_row(f"q{number}", logprob.tolist(), int(gold[number]))
            | {"asked_option": int(option), "follow_up_logprob": stated.tolist()}
        )
    asked = cell(beta, language, settings={"candidates": "letters", "follow_up": "levels"})
    path = folder / f"{beta}-{language}.parquet"
    records.write(path, rows, pa.schema([*records.SCORE, *follow_ups.FIELDS]), {"cell": asked})
    return path


def stating(folder, n=4000, seed=5):
    """In ``en`` a model is right with a known probability and states it; in ``de`` it is right half the time and
    states 90%. With β = 0 both state 100% of the same answers.
    """
    rng, files = np.random.default_rng(seed), []
    gold, worth = rng.integers(0, 4, n), rng.choice([30, 50, 80], n)
    for language in ("en", "de"):
        share = worth / 100 if language == "en" else np.full(n, 0.5)
        chosen = np.where(rng.random(n) < share, gold, (gold + rng.integers(1, 4, n)) % 4)
        percent = worth if language == "en" else np.full(n, 90)
        files.append(levels(folder, language, chosen, gold, percent))
        files.append(levels(folder, language, chosen, gold, np.full(n, 100), "0"))
    return files, worth


def test_a_model_that_states_what_it_is_worth_and_one_that_states_nine_tenths(tmp_path):
    files, worth = stating(tmp_path)
    table = confidences(files, tmp_path / "out", bootstrap_samples=100)
    assert set(table.measure) == {"likelihood", "stated", "stated_mode", "agreement"}
    base = table[(table.beta == "none") & table.measure.isin(["stated", "stated_mode"])]
    for measure in ("stated", "stated_mode"):
        rows = base[base.measure == measure].set_index("language")
        honest, sure = rows.loc["en"], rows.loc["de"]
        assert honest.confidence == pytest.approx(worth.mean() / 100, abs=1e-6)
        assert honest.gap_low < 0 < honest.gap_high
        assert honest.ece < 0.03
        assert honest.auroc > 0.65
        assert honest.auarc > honest.accuracy + 0.1
        assert (sure.confidence, sure.ece) == pytest.approx((0.9, 0.9 - sure.accuracy), abs=1e-6)
        assert sure.gap == pytest.approx(0.4, abs=0.03)
        assert (sure.auroc, sure.auarc) == pytest.approx((0.5, sure.accuracy), abs=1e-12)
        assert (honest.ceiling_rate, sure.ceiling_rate) == (0, 0)
        # Each answer is a level with probability one half.
        assert (honest.level_mass, sure.level_mass) == pytest.approx((0.5, 0.5), abs=1e-6)
    certain = table[(table.beta == "0") & (table.measure == "stated_mode") & (table.language != "mean")]
    assert list(certain.ceiling_rate) == [1, 1]
    assert table[table.measure == "likelihood"][list(SAID)].isna().all(axis=None)


def test_contrasts_are_paired(tmp_path):
    files, worth = stating(tmp_path)
    table = confidences(files, tmp_path / "out", bootstrap_samples=100)
    contrasts = pd.read_parquet(tmp_path / "out" / "confidence_contrasts.parquet")
    assert set(contrasts.contrast) == {"tuned_minus_base"}
    assert len(contrasts) == (table.beta == "0").sum()
    keys = ["language", "resource", "measure"]
    sides = [table[table.beta == beta].set_index(keys) for beta in ("0", "none")]
    found = contrasts.set_index(keys)
    for metric in ("gap", "ece", "binary_brier", "auroc", "auarc", "accuracy", "confidence"):
        expected = (sides[0][metric] - sides[1][metric]).reindex(found.index)
        assert found[metric].to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-12)
        assert (found[f"{metric}_low"] <= found[metric] + 1e-12).all()
        assert (found[metric] <= found[f"{metric}_high"] + 1e-12).all()
    # Both state a constant in German, so each sample has the same difference, whatever the answers.
    german = found.loc["de", "high", "stated"]
    assert (german.gap_low, german.gap_high) == pytest.approx((0.1, 0.1), abs=1e-6)
    english = found.loc["en", "high", "stated"]
    assert english.gap == pytest.approx(1 - worth.mean() / 100, abs=1e-6)


def test_means_over_other_languages_are_not_compared(tmp_path):
    files = study(tmp_path / "scores", 20)
    fewer = [path for path in files if path.stem != "0_42_yo"]
    confidences(fewer, tmp_path / "out", bootstrap_samples=20)
    table = pd.read_parquet(tmp_path / "out" / "confidence_contrasts.parquet")
    against_base = table[(table.contrast == "tuned_minus_base") & (table.measure == "agreement")]
    of = {
        beta: set(zip(rows.language, rows.resource, strict=True))
        for beta, rows in against_base.groupby("beta")
    }
    single = {(name, LANGUAGES[name]) for name in LANGUAGES}
    assert of["0.1"] == single | {("mean", level) for level in ("all", "high", "mid", "low")}
    assert of["0"] == (single - {("yo", "low")}) | {("mean", level) for level in ("high", "mid")}


def test_follow_ups_about_other_options_are_holes(tmp_path):
    gold = np.zeros(20, int)
    files = [levels(tmp_path, language, gold, gold, np.full(20, 90)) for language in ("en", "de", "yo")]
    table = pq.read_table(files[2])
    other = table.set_column(
        table.column_names.index("asked_option"), "asked_option", pa.array([1] * 20, pa.int32())
    )
    asked = records.metadata(files[2])["cell"]
    records.write(files[2], other, other.schema.remove_metadata(), {"cell": asked})
    confidences(files, tmp_path / "out")
    [hole] = pd.read_parquet(tmp_path / "out" / "holes.parquet").to_dict("records")
    assert hole["language"] == "yo"
    assert "row 0: the follow-up is about option 1, but option 0 is chosen" in hole["reason"]
