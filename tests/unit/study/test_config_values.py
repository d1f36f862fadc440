"""Every number has one spelling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycal.study.config_values import canonical_number


@pytest.mark.parametrize(
    ("value", "spelled"),
    [
        (0.1, "0.1"),
        ("0.10", "0.1"),
        (".1", "0.1"),
        (0, "0"),
        ("-0.0", "0"),
        (5e-06, "5e-6"),
        ("1e-5", "1e-5"),
        (0.0001, "0.0001"),
        (1.5e-07, "1.5e-7"),
        (42, "42"),
        (128.0, "128"),
    ],
)
def test_a_number_has_one_spelling(value, spelled):
    assert canonical_number(value) == spelled


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_spelling_keeps_the_value_and_is_its_own_spelling(value):
    text = canonical_number(value)
    assert float(text) == value
    assert canonical_number(text) == text
