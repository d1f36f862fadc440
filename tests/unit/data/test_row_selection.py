"""Shuffle, mixture of languages and held-out share."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycal.artifacts import records
from polycal.data import row_selection

LANGUAGES = ["en", "de", "en", None, "te", "en", "de", "te", "en", "de"]
ORDER = np.array([9, 8, 7, 6, 5, 4, 3, 2, 1, 0])


@given(total=st.integers(0, 5000), seed=st.integers(0, 2**64))
def test_shuffled_is_a_permutation(total: int, seed: int) -> None:
    order = row_selection.shuffled(total, str(seed))
    assert np.array_equal(np.sort(order), np.arange(total))
    assert np.array_equal(order, row_selection.shuffled(total, str(seed)))


def test_shuffled_is_the_same_everywhere() -> None:
    # The order of default_rng(0).random(8) in NumPy's documentation: .637 .270 .041 .017 .813 .913 .607 .729
    assert row_selection.shuffled(8, "0").tolist() == [3, 2, 1, 6, 0, 7, 4, 5]


@given(total=st.integers(0, 10**6), share=st.decimals("0", "0.9", places=2))
def test_neither_the_held_out_nor_the_training_split_is_empty(total: int, share: Any) -> None:
    count = row_selection.heldout_count(total, str(share))
    assert abs(count - float(share) * total) <= 1
    if share and total >= 2:
        assert 1 <= count < total


def test_balanced_selects_equally_many_rows_of_each_language_in_the_given_order():
    selected = row_selection.mixture(ORDER, LANGUAGES, {"language_mixture": "balanced"})
    assert selected.tolist() == [9, 8, 7, 6, 5, 4]
    some = {"language_mixture": "balanced", "languages": ["en", "de"], "rows": 5}
    assert row_selection.mixture(ORDER, LANGUAGES, some).tolist() == [9, 8, 6, 5, 2]


def test_english_only():
    assert row_selection.mixture(
        ORDER, LANGUAGES, {"language_mixture": "english_only", "rows": 3}
    ).tolist() == [
        8,
        5,
        2,
    ]
    assert row_selection.mixture(ORDER, LANGUAGES, {"language_mixture": "english_only"}).tolist() == [
        8,
        5,
        2,
        0,
    ]


def test_too_few_rows_of_a_language_are_refused():
    wanted = {"language_mixture": "balanced", "languages": ["en", "te"], "rows": 6}
    with pytest.raises(records.RecordError, match="needs 3 rows in 'te', but the data set contains 2"):
        row_selection.mixture(ORDER, LANGUAGES, wanted)
