"""Confidences in generated answers and their calibration, on answers of constructed models."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import generations
from helpers.stamps import FixedStamp

from polycal import metrics
from polycal.analysis import answer_confidences, confidence_contrasts, generation_table
from polycal.analysis.answer_confidences import semantic_entropy
from polycal.analysis.score_arrays import MeasureError
from polycal.artifacts import cluster_records, failures, open_records, records
from polycal.artifacts.failures import Failure
from polycal.artifacts.records import RecordError
from polycal.study import paths

MEASURES = ("cluster_share", "greedy_share", "entropy", "likelihood", "p_true")
"""The measures that need no entailment model, in their order."""


def measured(tmp_path, files, missing=(), clusters=(), **settings):
    cell = {"settings": {**generations.SETTINGS, **settings}}
    generation_table.measure_generation(
        cell, generations=files, clusters=clusters, missing=missing, out=tmp_path / "out", stamp=FixedStamp()
    )
    table = pd.read_parquet(tmp_path / "out/generation.parquet")
    assert tuple(table.columns) == generation_table.COLUMNS
    return table, pd.read_parquet(tmp_path / "out/generation_holes.parquet")


def confident(share: float, count: int = 100, samples: int = 10):
    """A model that is right with the given probability, and whose samples say so."""
    agree = round(share * samples)
    return [
        generations.row(
            f"q{n}",
            "Paris",
            ["paris."] * agree + [f"city {k}" for k in range(samples - agree)],
            right=n < share * count,
            p=share,
            tokens=2,
        )
        for n in range(count)
    ]


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_a_model_that_is_right_as_often_as_it_says_is_calibrated(tmp_path, share):
    file = generations.write(tmp_path / "g.parquet", confident(share))
    table = measured(tmp_path, [file])[0].set_index("measure")
    for measure in ("cluster_share", "greedy_share", "likelihood", "p_true"):
        row = table.loc[measure]
        assert row.accuracy == pytest.approx(share)
        assert row.confidence == pytest.approx(share, abs=1e-6)
        assert row.ece == pytest.approx(0, abs=1e-6)
        assert row.binary_brier == pytest.approx(share * (1 - share), abs=1e-6)
        assert row.auroc == pytest.approx(0.5)
        assert row.auarc == pytest.approx(share)
        assert row.gap_low <= row.gap <= row.gap_high
    rest = 10 - round(10 * share)
    entropy = -share * np.log(share) - rest * 0.1 * np.log(0.1)
    assert table.loc["entropy"].confidence == pytest.approx(np.exp(-entropy))


def test_a_model_that_says_90_percent_and_is_right_half_the_time_shows_it(tmp_path):
    rows = [{**row, "answers": ["Paris"] if n % 2 else ["Rome"]} for n, row in enumerate(confident(0.9))]
    file = generations.write(tmp_path / "g.parquet", rows)
    table = measured(tmp_path, [file])[0].set_index("measure")
    for measure in ("cluster_share", "greedy_share", "likelihood", "p_true"):
        assert table.loc[measure].ece == pytest.approx(0.4, abs=1e-6)
        assert table.loc[measure].gap == pytest.approx(0.4, abs=1e-6)
        assert table.loc[measure].gap_low > 0.2


def test_metrics_are_those_of_the_library(tmp_path):
    files = generations.study(tmp_path)
    table = measured(tmp_path, files)[0]
    answers = answer_confidences.read(open_records.read_generations(files[0]), "en")
    chosen = table[(table.beta == "none") & (table.language == "en")].set_index("measure")
    for measure in MEASURES:
        confidence = answers.confidence[measure]
        assert chosen.loc[measure].ece == pytest.approx(metrics.ece(confidence, answers.correct))
        assert chosen.loc[measure].auroc == pytest.approx(metrics.auroc(confidence, answers.correct))
        area = metrics.accuracy_coverage_area(confidence, answers.correct)
        assert chosen.loc[measure].auarc == pytest.approx(area)
        if measure != "likelihood":
            ranks = [pd.Series(one).rank() for one in (confidence, answers.confidence["likelihood"])]
            assert chosen.loc[measure].spearman == pytest.approx(np.corrcoef(*ranks)[0, 1])
        assert chosen.loc[measure].auarc_low <= area <= chosen.loc[measure].auarc_high
    assert table.spearman.isna().eq(table.measure == "likelihood").all()
    assert len(table) == len(MEASURES) * (4 + 2)
    means = table[(table.language == "mean") & (table.beta == "0")].set_index("measure")
    each = table[(table.language != "mean") & (table.beta == "0")]
    for measure in MEASURES:
        members = each[each.measure == measure]
        for name in ("accuracy", "confidence", "ece", "auroc", "auarc"):
            assert means.loc[measure][name] == pytest.approx(members[name].mean())
        assert means.loc[measure].n == members.n.sum()
    assert measured(tmp_path, files)[0].equals(table)


def test_the_likelihood_is_a_mean_per_token(tmp_path):
    rows = [generations.row(f"q{n}", "a", ["a", "b"], right=True, p=0.7, tokens=n) for n in (1, 2, 9)]
    file = generations.write(tmp_path / "g.parquet", rows)
    answers = answer_confidences.read(open_records.read_generations(file), "en")
    assert answers.confidence["likelihood"] == pytest.approx([0.7] * 3, abs=1e-6)


def test_clusters_do_not_depend_on_the_accepted_answers():
    counts = answer_confidences.clusters(["US dollar", "us  Dollar.", "US dollars", "", "\u200b"], "en")
    assert sorted(counts.values()) == [1, 2, 2]


@pytest.mark.parametrize(
    ("counts", "expected"), [([10], 0.0), ([5, 5], np.log(2)), ([1] * 10, np.log(10)), ([9, 1], 0.325083)]
)
def test_the_discrete_semantic_entropy_is_that_of_the_clusters(counts, expected):
    assert semantic_entropy(counts) == pytest.approx(expected, abs=1e-6)


def test_empty_and_cut_answers_are_wrong_and_counted(tmp_path):
    rows = confident(0.5, count=10)
    rows[0] |= {"greedy": "", "answers": ["Paris"], "samples": [""] * 10}
    rows[1] |= {"greedy_cut": True, "sample_cut": [True] * 10, "near_ties": 2}
    file = generations.write(tmp_path / "g.parquet", rows)
    table = measured(tmp_path, [file])[0]
    assert (table.n == 10).all()
    assert (table.samples == 10).all()
    assert (table["empty"] == 1).all()
    assert (table.cut == 1).all()
    assert (table.near_ties == 1).all()
    assert table.empty_samples.unique() == pytest.approx([0.1])
    assert table.cut_samples.unique() == pytest.approx([0.1])
    assert (table.accuracy == 0.4).all()
    # the empty answer and its samples are one cluster
    answers = answer_confidences.read(open_records.read_generations(file), "en")
    assert answers.confidence["greedy_share"][0] == 1.0


def test_missing_and_failed_records_are_holes_and_empty_their_means(tmp_path):
    files = generations.study(tmp_path)
    failed = tmp_path / "failed.parquet"
    failures.write(failed, {"cell": generations.cell(language="yo", model="n")}, Failure("generate", "why."))
    names = {**generations.cell(model="n"), "language": "sw"}
    missing = [Path(paths.GENERATIONS.format(**names))]
    files.append(generations.write(tmp_path / "n.parquet", confident(0.7), model="n"))
    table, holes = measured(tmp_path, [*files, failed], missing)
    assert dict(zip(holes.language, holes.stage, strict=True)) == {"yo": "generate", "sw": "generate"}
    means = table[(table.model == "n") & (table.language == "mean")]
    assert (means.holes == 2).all()
    assert means.accuracy.isna().all()
    assert table[(table.model == "m") & (table.language == "mean")].accuracy.notna().all()


def changes(tmp_path, **names):
    table = pd.read_parquet(tmp_path / "out/generation_contrasts.parquet")
    assert tuple(table.columns) == confidence_contrasts.COLUMNS
    for name, value in names.items():
        table = table[table[name] == value]
    return table


def test_changes_are_those_of_the_table_on_the_same_questions(tmp_path):
    tuned = [("0", "1"), ("0.1", "1")]
    table = measured(tmp_path, generations.study(tmp_path, tuned=tuned))[0]
    found = changes(tmp_path)
    # Each β minus the base, and 0.1 minus 0, in two languages and their mean.
    assert len(found) == 3 * 3 * len(MEASURES)
    keys = ["beta", "language", "resource", "measure"]
    values = {tuple(row[key] for key in keys): row for row in table.to_dict("records")}
    for change in found.to_dict("records"):
        place = tuple(change[key] for key in keys[1:])
        reference = values[{"base": "none", "β = 0": "0"}[change["reference"]], *place]
        own = values[change["beta"], *place]
        for metric in confidence_contrasts.METRICS:
            low, high = change[f"{metric}_low"], change[f"{metric}_high"]
            assert change[metric] == pytest.approx(own[metric] - reference[metric], abs=1e-12)
            # A bootstrap sample of right answers only has no AUROC, so the interval is not known.
            unknown = np.isnan([own[f"{metric}_low"], reference[f"{metric}_low"]]).any()
            assert np.isnan([low, high]).all() if unknown else low <= change[metric] <= high
    assert found[["gap_low", "ece_low", "auarc_low"]].notna().all(axis=None)
    assert set(found.interval_covers) == {"questions"}


def test_changes_of_models_that_answer_alike_have_no_chance_of_questions(tmp_path):
    said = [(0.5, "none"), (0.9, "0"), (0.7, "0.1")]
    files = []
    for share, beta in said:
        rows = [
            {**row, "answers": ["Paris"] if n % 2 else ["Rome"]} for n, row in enumerate(confident(share))
        ]
        tuned = {} if beta == "none" else {"data": "d", "recipe": "r", "beta": beta, "seed": "1"}
        files.append(generations.write(tmp_path / f"{beta}.parquet", rows, **tuned))
    measured(tmp_path, files)
    found = changes(tmp_path, measure="greedy_share").set_index(["beta", "contrast"])
    for key, change in {
        ("0", "tuned_minus_base"): 0.4,
        ("0.1", "tuned_minus_base"): 0.2,
        ("0.1", "smoothed_minus_unsmoothed"): -0.2,
    }.items():
        row = found.loc[key]
        for metric in ("confidence", "gap"):
            bounds = [row[metric + end] for end in ("", "_low", "_high")]
            assert bounds == pytest.approx([change] * 3, abs=1e-6)
        assert [row.accuracy, row.accuracy_low, row.accuracy_high] == [0, 0, 0]
        assert (row.auroc, row.auarc) == pytest.approx((0, 0), abs=1e-12)
    assert len(found) == 3


def test_changes_over_trainings_are_means_with_intervals_over_seeds(tmp_path):
    tuned = [(beta, seed) for beta in ("0", "0.1") for seed in ("1", "2", "3")]
    files = generations.study(tmp_path, tuned=tuned)
    table = measured(tmp_path, files)[0]
    pooled = table[table.seed == "all"]
    assert len(pooled) == 2 * 3 * len(MEASURES)
    assert set(pooled.interval_covers) == {"questions, seeds"}
    place = "beta == '0.1' and language == 'en' and measure == 'entropy'"
    [one] = pooled.query(place).to_dict("records")
    each = table[table.seed != "all"].query(place)
    assert (one["ece"], one["auarc"]) == pytest.approx((each.ece.mean(), each.auarc.mean()), abs=1e-14)
    assert one["n"] == 20
    found = changes(tmp_path).query(place + " and contrast == 'smoothed_minus_unsmoothed'")
    assert set(found.seed) == {"1", "2", "3", "all"}
    by_seed = found.set_index("seed").gap
    assert by_seed["all"] == pytest.approx(by_seed.drop("all").mean(), abs=1e-14)
    assert found.set_index("seed").interval_covers["all"] == "questions, seeds"
    # Without the answers of one training in one language, its means are empty, and so are their changes.
    lost = [file for file in files if file.name != "0.1-2-yo.parquet"]
    missing = [Path(paths.GENERATIONS.format(**generations.cell(data="d", recipe="r", beta="0.1", seed="2")))]
    missing = [Path(str(missing[0]).replace("language=en", "language=yo"))]
    table = measured(tmp_path, lost, missing)[0].query("seed == 'all' and beta == '0.1'")
    assert set(table.language) == {"en"}
    found = changes(tmp_path, beta="0.1", language="mean")
    assert found[found.seed == "2"].gap.isna().all()
    assert found[found.seed == "1"].query("resource == 'all'").gap.notna().all()
    assert "all" not in set(found.seed)


def test_records_without_one_that_can_be_measured_are_an_error(tmp_path):
    failed = tmp_path / "failed.parquet"
    failures.write(failed, {"cell": generations.cell()}, Failure("generate", "why."))
    with pytest.raises(MeasureError, match="none of the 1 records can be measured"):
        measured(tmp_path, [failed])
    assert not (tmp_path / "out").exists()


def clustered(tmp_path, files):
    return [generations.cluster(tmp_path / "clusters" / file.name, file) for file in files]


def test_clusters_by_meaning_have_measures_of_their_own(tmp_path):
    rows = [
        generations.row("q1", "a", ["a", "b", "c", "b"], right=True),
        generations.row("q2", "b", ["a", "b", "c", "d"], right=False),
        generations.row("q3", "d", ["a", "a", "b", "c"], right=False),
    ]
    file = generations.write(tmp_path / "g.parquet", rows)
    [clusters] = clustered(tmp_path, [file])
    tables = open_records.read_generations(file), cluster_records.read_clusters(clusters)
    found = answer_confidences.read(tables[0], "en", tables[1]).confidence
    assert found["meaning_share"] == pytest.approx([1 / 4, 2 / 4, 0])
    assert found["greedy_share"] == pytest.approx([1 / 4, 1 / 4, 0])
    entropies = [semantic_entropy([1, 3]), semantic_entropy([1, 2, 1]), semantic_entropy([2, 2])]
    assert found["meaning_entropy"] == pytest.approx(np.exp(-np.array(entropies)))


def test_measures_by_meaning_change_no_other(tmp_path):
    files = generations.study(tmp_path)
    without = measured(tmp_path, files)[0]
    table, holes = measured(tmp_path, files, clusters=clustered(tmp_path, files))
    assert holes.empty
    assert list(dict.fromkeys(table.measure)) == list(generation_table.MEASURES)
    by_meaning = table.measure.str.startswith("meaning")
    assert by_meaning.sum() == 2 * (4 + 2)
    assert table[~by_meaning].reset_index(drop=True).equals(without)


def test_answers_without_clusters_are_holes(tmp_path):
    files = generations.study(tmp_path)
    first, _, *others = clustered(tmp_path, files)
    cell = {**records.metadata(files[0])["cell"], "entailment": "e"}
    failures.write(first, {"cell": cell}, Failure("cluster", "why."))
    lost = {**records.metadata(files[1])["cell"], "entailment": "e"}
    missing = [Path(paths.CLUSTERS.format(**lost))]
    table, holes = measured(tmp_path, files, missing, clusters=[first, *others])
    assert dict(zip(holes.language, holes.stage, strict=True)) == {"en": "cluster", "yo": "cluster"}
    assert set(table[table.beta == "none"].language) == {"mean"}
    assert table[table.beta == "none"].gap.isna().all()
    assert table[table.beta == "0"].gap.notna().all()


def test_clusters_of_other_answers_are_refused(tmp_path):
    one = generations.write(tmp_path / "one.parquet", confident(0.5, samples=4))
    other = generations.write(tmp_path / "other.parquet", confident(0.5, samples=10))
    with pytest.raises(RecordError, match=r"other\.parquet: has other questions or numbers of samples"):
        measured(tmp_path, [one], clusters=clustered(tmp_path, [other]))
