"""Mixtures of languages: counts, order, and what a set cannot give."""

import numpy as np
import pytest

from polycal.artifacts import records
from polycal.data import row_selection

SPOKEN = ["en", "de", "en", None, "te", "en", "de", "te", "en", "de"]
ORDER = np.array([9, 8, 7, 6, 5, 4, 3, 2, 1, 0])


def test_balanced_takes_as_many_of_each_in_the_order_of_the_shuffle():
    found = row_selection.mixture(ORDER, SPOKEN, {"language_mixture": "balanced"})
    assert found.tolist() == [9, 8, 7, 6, 5, 4]
    some = {"language_mixture": "balanced", "languages": ["en", "de"], "rows": 5}
    assert row_selection.mixture(ORDER, SPOKEN, some).tolist() == [9, 8, 6, 5, 2]


def test_english_only():
    assert row_selection.mixture(ORDER, SPOKEN, {"language_mixture": "english_only", "rows": 3}).tolist() == [
        8,
        5,
        2,
    ]
    assert row_selection.mixture(ORDER, SPOKEN, {"language_mixture": "english_only"}).tolist() == [8, 5, 2, 0]


def test_too_few_rows_of_a_language_are_named():
    wanted = {"language_mixture": "balanced", "languages": ["en", "te"], "rows": 6}
    with pytest.raises(records.RecordError, match="asks for 3 rows in 'te', but the set holds 2"):
        row_selection.mixture(ORDER, SPOKEN, wanted)
