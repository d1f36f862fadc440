"""Messages about an unknown name suggest the nearest known one."""

import pytest

from polycal.study.suggestions import MAX_LISTED, nearest, require_known, with_full_stop


@pytest.mark.parametrize(
    ("name", "known", "end"),
    [
        ("modles", ["models", "data"], "; did you mean 'models'?"),
        ("x", ["b", "a"], "; known: a, b"),
        ("x", [], ", which is empty"),
    ],
)
def test_the_nearest_name_or_else_all_names(name, known, end):
    assert nearest(name, known) == end


def test_a_long_list_is_cut():
    assert nearest("x", [f"name{n:03}" for n in range(100)]).count("name") == MAX_LISTED


def test_an_unknown_name_is_refused_with_its_key():
    require_known("grid.models", "m", ["m"], "the catalogue 'models'")
    with pytest.raises(ValueError, match=r"^grid\.models: 'n' is not in the catalogue 'models'; known: m$"):
        require_known("grid.models", "n", ["m"], "the catalogue 'models'")


def test_a_question_gets_no_full_stop():
    assert with_full_stop("x; did you mean 'y'?") == "x; did you mean 'y'?"
    assert with_full_stop("x; known: y") == "x; known: y."
