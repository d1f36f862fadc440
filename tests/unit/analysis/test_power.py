import numpy as np
import pandas as pd
import pytest
from scipy import stats

from polycal.analysis import power
from polycal.analysis.power import Components, Design

NAN = float("nan")
FOUND = Components(n=300, questions=0.5, interaction=0.2, seeds=0.3, bases=0.1)


def test_one_training_has_the_normal_difference_over_questions():
    one = Components(300, 0.04, 0.0, NAN, NAN)
    z = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert power.smallest_difference(one, Design(300, 1, 1)) == pytest.approx(z * 0.2)
    assert power.smallest_difference(one, Design(1200, 1, 1)) == pytest.approx(z * 0.1)


def test_without_variance_over_questions_it_is_that_of_a_t_test():
    found = Components(300, 0.0, 0.0, 1.0, NAN)
    for seeds in (3, 5, 10):
        difference = power.smallest_difference(found, Design(300, seeds, 1))
        reached = stats.nct.sf(stats.t.ppf(0.975, seeds - 1), seeds - 1, difference * np.sqrt(seeds))
        assert reached == pytest.approx(0.8, abs=1e-3)


def test_parts_of_a_larger_study():
    parts = FOUND.parts(Design(600, 4, 1))
    assert (parts.common, parts.own, parts.interaction, parts.clusters) == pytest.approx((0.25, 0.4, 0.1, 4))
    parts = FOUND.parts(Design(600, 4, 5))
    assert (parts.common, parts.own, parts.clusters) == pytest.approx((0.25, 0.1 + 0.4 / 4, 5))


@pytest.mark.parametrize("larger", [Design(600, 3, 1), Design(300, 6, 1), Design(300, 3, 5)])
def test_more_of_anything_shows_smaller_differences(larger):
    found = Components(300, 0.5, 0.2, 0.3, 0.0)
    assert power.smallest_difference(found, larger) < power.smallest_difference(found, Design(300, 3, 1))


def test_what_is_unknown_is_named():
    one = Components(300, 0.5, 0.0, NAN, NAN)
    assert one.unknown(Design(300, 1, 1)) == ""
    assert one.unknown(Design(300, 3, 1)) == "seeds"
    assert one.unknown(Design(300, 1, 5)) == "bases"
    assert FOUND.unknown(Design(300, 3, 5)) == ""


def test_shares_are_of_what_is_known():
    assert power.shares(FOUND) == pytest.approx(
        {"questions": 0.7 / 1.1, "seeds": 0.3 / 1.1, "bases": 0.1 / 1.1}
    )
    assert np.isnan(power.shares(Components(1, 0.0, 0.0, 0.0, 0.0))["questions"])
    assert power.shares(Components(1, 0.5, 0.0, NAN, NAN))["questions"] == 1.0


def contrast(base_seed, seed, questions, interaction=NAN, training=NAN, trainings=1):
    return {
        "contrast": "smoothed_minus_unsmoothed",
        "benchmark": "b",
        "metric": "gap",
        "language": "mean",
        "base_seed": base_seed,
        "seed": seed,
        "question_variance": questions,
        "interaction_variance": interaction,
        "training_variance": training,
        "trainings": trainings,
    }


CELLS = pd.DataFrame({"benchmark": ["b", "b"], "n": [300, 300]})


def test_components_come_from_the_level_that_shows_them():
    rows = [
        contrast("0", "42", 0.9),
        contrast("0", "all", 0.5, 0.2, 0.5, 2),
        contrast("all", "all", 0.5, 0.1, 0.4, 5),
    ]
    [(names, found)] = power.of_rows(power.components(pd.DataFrame(rows), CELLS))
    assert names == {"contrast": "smoothed_minus_unsmoothed", "benchmark": "b", "metric": "gap"}
    # 0.4 − 0.1 is between the base models, and (0.5 − 0.2) / 2 of it comes from their two tunings
    assert found == Components(300, 0.5, 0.2, pytest.approx(0.3), pytest.approx(0.15))
    [(_, single)] = power.of_rows(power.components(pd.DataFrame(rows[:1]), CELLS))
    assert (single.questions, single.interaction) == (0.9, 0.0)
    assert np.isnan(single.seeds)


def test_no_contrast_has_no_component():
    rows = power.components(pd.DataFrame([contrast("0", "42", NAN)]), CELLS)
    assert (len(rows), list(rows)) == (0, list(power.COLUMNS))
