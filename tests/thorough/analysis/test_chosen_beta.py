"""How often the intervals of a chosen β contain the expected value of the choice, by simulation.

Every study chooses among three β on 300 questions in two languages. The expected change of ECE by choosing in
this way is the mean over further studies.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from polycal.analysis import chosen_beta, cross_fitting
from polycal.analysis.chosen_beta import SweptLanguage
from polycal.analysis.chosen_beta_rows import chosen_beta_rows
from polycal.analysis.conditions import Condition
from polycal.analysis.resampling import Resamples

QUESTIONS, STUDIES, FURTHER = 300, 300, 600
BETAS = ("0", "0.1", "0.2")
SHARPNESS = {"clear": (2.5, 1.6, 1.1), "close": (1.7, 1.5, 1.4)}
"""How much too sharp the predictions of each β are, if one β is clearly best and if all are nearly as good."""
CONDITION = Condition("m", "none", "d", "r", "", "1", "b", "p")
IDS = np.array([f"q{number}" for number in range(QUESTIONS)], dtype=object)
WITH_SAMPLES, WITHOUT = (Resamples("b", IDS, count, 0) for count in (100, 1))


def study(rng, resamples, sharpness):
    """The rows of the choices in one study, by language and choice."""
    score_set = SimpleNamespace(settings={"bins": 15, "binning": "width"}, resamples={"b": resamples})
    truth, languages = rng.normal(1.2, 1, QUESTIONS), []
    for language in ("en", "yo"):
        odds = truth + 0.3 * rng.standard_normal(QUESTIONS)
        gold = (rng.random(QUESTIONS) > 1 / (1 + np.exp(-odds))).astype(int)
        cells = []
        for sharp in sharpness:
            score = sharp * (odds + 0.2 * rng.standard_normal(QUESTIONS))
            log_p = -np.logaddexp(0, np.stack([-score, score], axis=1))
            cells.append(cross_fitting.fold(resamples, SimpleNamespace(question_id=IDS, gold=gold), log_p))
        cell = {**CONDITION._asdict(), "language": language}
        languages.append(SweptLanguage(cell, "high", cells, np.zeros(0)))
    results = chosen_beta.choose(score_set, BETAS, languages, CONDITION, {})
    return {(row["language"], row["chosen_on"], row["method"]): row for row in chosen_beta_rows(results)}


@pytest.mark.parametrize("case", list(SHARPNESS))
def test_intervals_of_a_chosen_beta_cover_the_expected_change(case, record_property):
    rng = np.random.default_rng(len(case))
    chosen = [("yo", "english", "beta"), ("yo", "language", "beta"), ("yo", "english", "temperature")]
    expected = np.zeros(len(chosen))
    for _ in range(FURTHER):
        rows = study(rng, WITHOUT, SHARPNESS[case])
        expected += [rows[name]["ece_change"] / FURTHER for name in chosen]
    inside = np.zeros(len(chosen))
    for _ in range(STUDIES):
        rows = study(rng, WITH_SAMPLES, SHARPNESS[case])
        for place, name in enumerate(chosen):
            inside[place] += rows[name]["ece_change_low"] <= expected[place] <= rows[name]["ece_change_high"]
    for name, reached in zip(chosen, inside / STUDIES, strict=True):
        record_property(" ".join(name), float(reached))
        print(f"{case}, {' '.join(name)}: coverage {reached:.3f}")
    assert (inside / STUDIES >= 0.9).all()
