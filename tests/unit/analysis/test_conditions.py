from helpers.score_records import cell

from polycal.analysis.conditions import Condition, cell_key
from polycal.vocabulary import CELL_KEYS


def test_a_condition_is_a_cell_without_its_language():
    assert (*Condition._fields, "language") == CELL_KEYS
    tuned = cell("0.1", "yo", base_seed="3")
    assert (*Condition.of(tuned), "yo") == cell_key(tuned)


def test_references_are_the_base_of_the_same_seed_and_the_unsmoothed_model():
    tuned = Condition.of(cell("0.1", base_seed="3"))
    base = Condition.of(cell("none", base_seed="3"))
    unsmoothed = Condition.of(cell("0", base_seed="3"))
    assert list(tuned.references()) == [
        ("tuned_minus_base", base),
        ("smoothed_minus_unsmoothed", unsmoothed),
    ]
    assert list(unsmoothed.references()) == [("tuned_minus_base", base)]
    assert list(base.references()) == []
    assert base.unsmoothed() == base.base() == base
