import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycal.metrics import selective_prediction

pairs = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


@given(pairs)
def test_auroc_against_all_pairs(answers):
    p, y = (np.array(column, float) for column in zip(*answers, strict=True))
    right, wrong = p[y == 1], p[y == 0]
    value = selective_prediction.auroc(p, y)
    if not len(right) or not len(wrong):
        assert math.isnan(value)
    else:
        more = (right[:, None] > wrong).mean() + 0.5 * (right[:, None] == wrong).mean()
        assert value == pytest.approx(more, abs=1e-12)


@pytest.mark.parametrize(
    ("confidence", "correct", "area", "top"),
    [
        # p-lambda/verified_calibration, test_selective_stats, whose functions HELM calls
        ([0.1], [1], 1.0, 1.0),
        ([0.3, 0.9], [0, 1], 0.75, 1.0),
        ([0.3, 0.9], [1, 0], 0.25, 0.0),
        ([0.6, 0.0, 0.8], [1, 0, 1], 8 / 9, 1.0),
        ([0.6, 0.0, 0.8], [0, 0, 1], 11 / 18, 1.0),
        ([0.1] * 10 + [0.6, 0.7], [0] * 10 + [0, 1], np.mean(1 / np.arange(1, 13)), 0.5),
        ([0.1] * 10 + [0.6, 0.7], [0] * 10 + [1, 0], np.mean(1 / np.arange(1, 13)) - 1 / 12, 0.5),
        ([0.1] * 9 + [0.5, 0.6, 0.7], [0] * 9 + [1, 0, 0], np.mean(1 / np.arange(1, 13)) - 1.5 / 12, 0.0),
    ],
)
def test_selective_values(confidence, correct, area, top):
    assert selective_prediction.accuracy_coverage_area(confidence, correct) == pytest.approx(area, abs=1e-14)
    assert selective_prediction.selective_accuracy(confidence, correct) == pytest.approx(top, abs=1e-14)


def test_ties_do_not_depend_on_their_order():
    confidence = [0.5, 0.5, 0.5, 0.9]
    first, second = ([1, 0, 0, 1], [0, 0, 1, 1])
    assert selective_prediction.accuracy_coverage_area(
        confidence, first
    ) == selective_prediction.accuracy_coverage_area(confidence, second)
    assert selective_prediction.selective_accuracy([0.7] * 10, [1] * 3 + [0] * 7) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: selective_prediction.auroc([math.nan], [1]), r"lie in \[0, 1\]"),
        (lambda: selective_prediction.selective_accuracy([0.5], [1], coverage=2), "coverage is 2"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
