"""The miniature versions of the first experiments, reduced in size: each produces the figure or table it is for."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from helpers import workflow

ROOT = Path(__file__).parents[2]
TWINS = ROOT / "config/experiments/mini"
CUT = {
    # the languages that tulu-mini needs; fewer questions, conversations and epochs than in the demo
    "miniature": {"languages": ["en", "de", "fr", "zh", "yo"], "questions": 60, "rows": 64},
    "benchmarks": {"global-mmlu-mini": {"languages": ["en", "fr", "yo"]}},
    "recipes": {"mini": {"epochs": 1}},
    "measure": {"bootstrap_samples": 50},
}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiments")
    (folder / "cut.yaml").write_text(yaml.safe_dump(CUT))
    return folder


def study(work, twin, **further):
    """Run an experiment in the folder that all of them share, and return the folder of its results.

    ``further`` are keys of the configuration that reduce it more.
    """
    files = [ROOT / "config/mini.yaml", TWINS / f"{twin}.yaml", work / "cut.yaml"]
    if further:
        files.append(work / f"{twin}.yaml")
        files[-1].write_text(yaml.safe_dump(further))
    ran = workflow.snakemake(work, "--profile", str(ROOT / "profiles/local"), configuration=files)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = work / "results/studies" / f"mini-{twin}"
    assert (found / "report.html").is_file()
    return found


def test_overconfidence_shows_base_and_tuned_in_three_languages(work):
    found = study(work, "overconfidence")
    cells = pd.read_parquet(found / "cells.parquet")
    assert set(zip(cells.beta, cells.language, strict=True)) == {
        (beta, language) for beta in ("none", "0") for language in ("en", "fr", "yo")
    }
    for kind in ("overview", "confidence"):
        assert list(found.glob(f"figures/{kind}-global-mmlu-mini-*.svg"))


def test_smoothing_finds_the_best_beta_of_each_language_and_overall(work):
    found = study(work, "smoothing")
    best = pd.read_csv(found / "tables/best-beta.csv", dtype={"best_beta": str})
    assert list(best.language) == ["en", "fr", "yo", "mean over languages"]
    assert set(best.best_beta) <= {"0.0", "0", "0.05", "0.1", "0.15", "0.2"}
    assert list(found.glob("figures/tradeoff-*.svg"))


def test_data_sets_the_mixture_against_english_alone_at_selected_rates(work):
    found = study(work, "data")
    pairs = pd.read_csv(found / "tables/data-sets.csv")
    assert set(zip(pairs.Data, pairs.Minus, pairs.Setting, strict=True)) == {
        ("tulu-mini", "openhermes-mini", setting) for setting in ("β = 0", "β = 0.1")
    }
    chosen = sorted(work.glob("results/checkpoints/**/selected.json"))
    assert len(chosen) == 4
    for path in chosen:
        assert json.loads(path.read_text())


def test_verbalised_measures_what_the_models_say_of_their_answers(work):
    found = study(work, "verbalised")
    table = pd.read_parquet(found / "confidences.parquet")
    asked = {protocol: set(rows.measure) for protocol, rows in table.groupby("protocol")}
    both = {"likelihood", "agreement"}
    assert asked == {
        "texts-0shot-levels": {*both, "stated", "stated_mode"},
        "texts-0shot-true": {*both, "p_true"},
        "letters-0shot-rotated": both,
        "true-letters-0shot": {*both, "p_true"},
        "true-words-0shot": {*both, "p_true"},
    }
    # The option is chosen as without a follow-up, whatever is asked about it.
    keys = ["beta", "language", "measure"]
    likelihoods = [
        table[(table.protocol == protocol) & (table.measure == "likelihood")].set_index(keys).accuracy
        for protocol in ("texts-0shot-levels", "texts-0shot-true")
    ]
    assert likelihoods[0].equals(likelihoods[1])
    contrasts = pd.read_parquet(found / "confidence_contrasts.parquet")
    assert set(contrasts.contrast) == {"tuned_minus_base", "smoothed_minus_unsmoothed"}
    for kind in ("measuregap", "measureauroc"):
        assert list(found.glob(f"figures/{kind}-*texts-0shot-levels.svg"))
    page = (found / "report.html").read_text()
    assert "How far can each measure of confidence be trusted, and in which languages?" in page
    assert "most likely stated level" in page


def test_generation_measures_every_confidence_in_the_models_own_answers(work):
    languages = ["en", "fr", "yo"]
    found = study(work, "generation", benchmarks={"mkqa-mini": {"languages": languages}})
    table = pd.read_parquet(found / "generation.parquet")
    assert set(table.language) == {*languages, "mean"}
    assert set(table.beta) == {"none", "0", "0.1"}
    assert set(table.measure) == {"cluster_share", "greedy_share", "entropy", "likelihood", "p_true"}
    assert not len(pd.read_parquet(found / "generation_holes.parquet"))
    english = table[(table.language == "en") & (table.beta == "none")].set_index("measure")
    # the base model answers with one word of the language that the question asks for
    assert (english.n == 60).all()
    assert (english["empty"] == 0).all()
    assert (english.accuracy > 2 / 12).all()  # one of twelve words is right
    # P(True) is not known to a model that has never seen it, but its samples say how sure it is
    assert english.auroc["greedy_share"] > 0.5
    assert abs(english.gap["greedy_share"]) < 0.2
    contrasts = pd.read_parquet(found / "generation_contrasts.parquet")
    assert set(contrasts.contrast) == {"tuned_minus_base", "smoothed_minus_unsmoothed"}
    page = (found / "report.html").read_text()
    assert "How far can confidence in generated answers be trusted?" in page
    assert "β minus β = 0, generated answers" in page
    for kind in ("generatedgap", "generatedauroc"):
        assert list(found.glob(f"figures/{kind}-*mkqa-mini-generate.svg"))
