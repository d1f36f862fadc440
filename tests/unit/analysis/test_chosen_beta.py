"""Choosing β, checked against choices that are made and evaluated one bootstrap sample at a time."""

import numpy as np
import pandas as pd
import pytest
from helpers import holes
from helpers.measured import write_tables
from helpers.score_records import SETTINGS, study

from polycal.analysis import beta_rule, chosen_beta, chosen_beta_rows, cross_fitting, score_arrays
from polycal.analysis.score_set import ScoreSet
from polycal.metrics import calibration, recalibration

ALL_CHOICES = ["unsmoothed", "english beta", "resource beta", "language beta"]
TEMPERATURES = ["english temperature", "english beta_and_temperature"]


def chosen(folder):
    table = pd.read_parquet(folder / "chosen_beta.parquet")
    name = (table.chosen_on + " " + table.method).where(table.chosen_on != "none", table.method)
    return table.assign(choice=name)


def test_the_rule_takes_the_least_ece_that_keeps_accuracy_and_of_equal_ones_the_lowest_beta():
    ece = np.array([[0.3, 0.3, 0.3, np.nan], [0.1, 0.2, 0.3, np.nan], [0.05, 0.2, 0.3, np.nan]])
    accuracy = np.array([[0.6, 0.6, 0.6, 0.6], [0.595, 0.7, 0.6, 0.6], [0.58, 0.7, 0.6, 0.6]])
    assert beta_rule.chosen(ece, accuracy).tolist() == [1, 1, 0, 0]


class Plain:
    """The answers of one sweep, as (p [N, K], right, ids) by language and β, and plain computations on them."""

    def __init__(self, files, binning):
        self.score_set = ScoreSet(files, {**SETTINGS, "binning": binning})
        self.binning, self.answers, self.level = binning, {}, SETTINGS["resource"]
        for path in files:
            questions = score_arrays.read(path)
            log_p = self.score_set.log_probabilities(questions)
            key = questions.cell["language"], questions.cell["beta"]
            self.answers[key] = log_p, questions.gold, list(questions.question_id)
        self.languages = sorted({language for language, _ in self.answers})

    def drawn(self, sample, language, beta, inside=None, outside=None, temperature=1.0):
        """Confidence, correctness, log-probabilities and gold of a sample's questions, repeated ones repeated."""
        log_p, gold, ids = self.answers[language, beta]
        weights = (
            np.ones(len(ids)) if sample is None else self.score_set.resamples["mmlu-prox"].weights[sample]
        )
        folds = np.array([cross_fitting.fold_of(name) for name in ids])
        keep = (folds == inside) if inside is not None else (folds != outside)
        rows = np.repeat(np.arange(len(ids)), (weights * keep).astype(int))
        scaled = log_p[rows] / temperature
        p = np.exp(scaled - scaled.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        return p.max(1), (log_p[rows].argmax(1) == gold[rows]).astype(float), log_p[rows], gold[rows]

    def ece(self, confidence, correct):
        return calibration.ece(confidence, correct, bins=15, binning=self.binning)

    def choice(self, sample, languages, outside):
        """The β with the least mean ECE among those that keep mean accuracy."""
        found = {}
        for beta in ("0", "0.1"):
            parts = [self.drawn(sample, language, beta, outside=outside)[:2] for language in languages]
            found[beta] = (
                np.mean([self.ece(*part) for part in parts]),
                np.mean([part[1].mean() for part in parts]),
            )
        kept = {beta: ece for beta, (ece, right) in found.items() if right > found["0"][1] - 0.01}
        return min(kept, key=lambda beta: (kept[beta], beta))

    def value(self, sample, name, language):
        """The ECE and accuracy of a choice in one language."""
        on = {
            "english": ["en"],
            "language": [language],
            "resource": [one for one in self.languages if self.level[one] == self.level[language]],
        }
        scope, _, method = name.partition(" ")
        parts = []
        for number in range(cross_fitting.FOLDS):
            beta = self.choice(sample, on[scope], number) if "beta" in method else "0"
            temperature = 1.0
            if "temperature" in method:
                _, _, log_p, gold = self.drawn(sample, "en", beta, outside=number)
                temperature = recalibration.fit_temperature(recalibration.log_ratios(log_p), gold)
            parts.append(self.drawn(sample, language, beta, inside=number, temperature=temperature)[:2])
        confidence, correct = (np.concatenate(column) for column in zip(*parts, strict=True))
        return self.ece(confidence, correct), correct.mean()


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_choices_are_those_of_plain_cross_fitting_in_every_sample(tmp_path, binning, monkeypatch):
    files = [path for path in study(tmp_path, n=90) if "none" not in path.name]
    plain, kept = Plain(files, binning), []
    monkeypatch.setattr(
        chosen_beta_rows, "chosen_beta_rows", lambda results: kept.extend(results) or [{"chosen_on": "none"}]
    )
    write_tables(files, tmp_path / "tables", {**SETTINGS, "binning": binning})
    results = {
        (
            f"{one.chosen_on} {one.method}" if one.chosen_on != "none" else one.method,
            one.cell["language"],
        ): one
        for one in kept
    }
    assert {name for name, _ in results} == {*ALL_CHOICES, *TEMPERATURES}
    # an interpolated temperature may move a question over the edge of a bin, so the sums have a tolerance
    for name in (*ALL_CHOICES, *TEMPERATURES):
        for language in ("en", "de", "yo"):
            found = results[name, language]
            for sample in (None, 0, 7):
                values = found.estimate if sample is None else found.samples[sample]
                ece, accuracy = plain.value(sample, name, language)
                close = 2e-2 / 90 if name in TEMPERATURES else 1e-12
                assert values[cross_fitting.ECE] == pytest.approx(ece, abs=close), (name, language, sample)
                assert values[chosen_beta_rows.ACCURACY] == pytest.approx(accuracy, abs=1e-12)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds")
    write_tables(study(folder, n=120, seeds=("1", "2", "3")), folder / "tables")
    return folder / "tables"


def test_every_choice_for_every_training_language_and_mean(tables):
    rows = chosen(tables)
    assert list(rows.columns) == [*chosen_beta_rows.COLUMNS, "choice"]
    sizes = rows.groupby(["seed", "language"]).size()
    assert set(sizes.index.get_level_values("seed")) == {"1", "2", "3", "all"}
    assert (sizes == len(chosen_beta.CHOICES)).all()
    assert set(rows.beta) <= {"0", "0.1", "several"}
    pooled = rows[rows.seed == "all"]
    assert set(pooled.interval_covers) == {"questions, seeds"}
    assert (pooled[pooled.language != "mean"].choices.str.count(r"\(") >= 1).all()


def test_without_a_choice_the_ece_is_that_of_the_cells(tables):
    cells = pd.read_parquet(tables / "cells.parquet").query("beta == '0'").set_index(["seed", "language"])
    rows = chosen(tables).query("method == 'unsmoothed' and seed != 'all' and language != 'mean'")
    rows = rows.set_index(["seed", "language"])
    assert (rows.ece - cells.ece[rows.index]).abs().max() < 1e-14
    assert (rows.accuracy - cells.accuracy[rows.index]).abs().max() < 1e-14
    assert (rows.ece_change == 0).all()


def test_changes_means_and_excesses_belong_to_each_other(tables):
    rows = chosen(tables).set_index(["seed", "language", "choice"])
    for (seed, language, choice), row in rows.iterrows():
        plain, english = rows.loc[(seed, language, "unsmoothed")], rows.loc[(seed, language, "english beta")]
        assert row.ece_change == pytest.approx(row.ece - plain.ece, abs=1e-14)
        assert row.relative_ece_reduction == pytest.approx(1 - row.ece / plain.ece, abs=1e-12)
        for name in ("ece", "ece_change", "accuracy_change"):
            assert row[f"{name}_low"] <= row[name] + 1e-12 <= row[f"{name}_high"] + 2e-12
        if choice in ("language beta", "resource beta"):
            assert row.ece_excess == pytest.approx(english.ece - row.ece, abs=1e-14)
            assert row.q >= row.p - 1e-12
        else:
            assert np.isnan(row.ece_excess)
            assert row.english_serves == ""
        if language == "mean" and seed == "1":
            members = [rows.loc[(seed, one, choice)].ece for one in ("en", "de", "hi", "yo")]
            assert row.ece == pytest.approx(np.mean(members), abs=1e-14)
    # English chooses for itself, so nothing can be better for it
    own = rows.loc[(slice(None), "en", "language beta"), :]
    assert (own.ece_excess == 0).all()
    assert (own.english_serves == "yes").all()


def result(ece, choice=("language", "beta"), spread=0.001, accuracy=0.5, language="yo"):
    rng = np.random.default_rng(0)
    estimate = np.array([accuracy, 0.8, 0.3, ece])
    cell = dict.fromkeys(("model", "base_seed", "data", "recipe", "seed", "benchmark", "protocol"), "x")
    return chosen_beta.Chosen(
        {**cell, "beta": "several", "language": language}, *choice, "0.1", chosen_beta.Counter({"0.1": 5}),
        float("nan"), 100, estimate, estimate + spread * rng.standard_normal((100, 4)) * [1, 1, 1, ece * 10],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("english", "own", "accuracy", "verdict"),
    [(0.10, 0.099, 0.5, "yes"), (0.2, 0.1, 0.5, "no"), (0.1, 0.1, 0.4, "no"), (0.10, 0.101, 0.5, "yes")],
)
def test_english_serves_if_neither_ece_nor_accuracy_is_surely_worse(english, own, accuracy, verdict):
    parts = [
        result(0.3, ("none", "unsmoothed")),
        result(english, ("english", "beta"), accuracy=accuracy),
        result(own),
    ]
    [row] = [row for row in chosen_beta_rows.chosen_beta_rows(parts) if row["chosen_on"] == "language"]
    assert row["english_serves"] == verdict


def test_it_is_unclear_if_the_difference_is_too_uncertain():
    parts = [result(0.3, ("none", "unsmoothed")), result(0.1, ("english", "beta"), spread=0.1), result(0.1)]
    [row] = [row for row in chosen_beta_rows.chosen_beta_rows(parts) if row["chosen_on"] == "language"]
    assert row["english_serves"] == "unclear"


def test_a_choice_that_needs_a_missing_cell_is_left_out_and_the_mean_is_empty(tmp_path):
    files = study(tmp_path / "scores", n=60)
    write_tables(files, tmp_path / "whole")
    holes.fail(tmp_path / "scores", "0.1_42_de")
    write_tables(files, tmp_path / "holes")
    whole, found = chosen(tmp_path / "whole"), chosen(tmp_path / "holes")
    by_language = {name: set(part.choice) for name, part in found.groupby("language")}
    everything = {*ALL_CHOICES, *TEMPERATURES}
    # German and English share a resource level
    assert by_language == {
        "en": everything - {"resource beta"}, "hi": everything, "yo": everything, "mean": everything
    }  # fmt: skip
    mean = found[found.language == "mean"]
    assert (mean.holes == 1).all()
    assert (
        mean[["ece", "ece_low", "ece_change", "relative_ece_reduction", "ece_excess"]].isna().all(axis=None)
    )
    keys = ["language", "choice"]
    before, after = (
        table[(table.language != "mean")].set_index(keys).sort_index().drop(columns=["q", "english_serves"])
        for table in (whole, found)
    )
    pd.testing.assert_frame_equal(after, before.loc[after.index], check_exact=True)


def test_without_english_nothing_is_chosen_on_it_and_one_beta_is_no_choice(tmp_path):
    files = study(tmp_path, n=60, languages=("de", "yo"))
    write_tables(files, tmp_path / "two")
    assert set(chosen(tmp_path / "two").choice) == {"unsmoothed", "resource beta", "language beta"}
    write_tables([path for path in files if not path.name.startswith("0.1")], tmp_path / "one")
    assert chosen(tmp_path / "one").empty
