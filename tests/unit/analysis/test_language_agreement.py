"""Agreement of constructed answers, by hand and by counting."""

import numpy as np
import pytest

from polycal.analysis.language_agreement import Answers, agreement


def answers(language, chosen, gold=None, ids=None, options=3):
    chosen = np.array(chosen)
    n = len(chosen)
    return Answers(
        {"language": language},
        np.array(ids or [f"q{i}" for i in range(n)], dtype=object),
        np.zeros(n, np.int64) if gold is None else np.array(gold),
        np.full(n, options),
        chosen,
        np.full(n, 0.5),
    )


def test_the_share_of_the_other_languages_by_hand():
    found = agreement(
        [answers("a", [0, 1]), answers("b", [0, 2]), answers("c", [0, 1]), answers("d", [1, 1])]
    )
    assert [one.share.tolist() for one in found] == [
        pytest.approx([2 / 3, 2 / 3]), pytest.approx([2 / 3, 0]), pytest.approx([2 / 3, 2 / 3]), pytest.approx([0, 2 / 3])
    ]  # fmt: skip
    assert {one.others for one in found} == {3.0}
    assert {one.left_out for one in found} == {0}


def test_random_answers_agree_as_often_as_counting_says():
    rng = np.random.default_rng(0)
    languages = []
    for language in "abcde":
        places = np.sort(rng.choice(30, 24, replace=False))
        languages.append(answers(language, rng.integers(0, 3, 24), ids=[f"q{i}" for i in places]))
    for one, found in zip(languages, agreement(languages), strict=True):
        expected = []
        for name, chosen in zip(one.question_id, one.chosen, strict=True):
            votes = [
                other.chosen[list(other.question_id).index(name)]
                for other in languages
                if other is not one and name in other.question_id
            ]
            expected.append(np.mean(np.array(votes) == chosen) if votes else None)
        assert found.used.tolist() == [share is not None for share in expected]
        assert found.share == pytest.approx([share for share in expected if share is not None])


def test_a_question_of_one_language_is_left_out_and_counted():
    a, b = answers("a", [0, 1, 1], ids=["q0", "q1", "q2"]), answers("b", [0, 1], ids=["q0", "q2"])
    first, second = agreement([a, b])
    assert (first.used.tolist(), first.left_out, second.left_out) == ([True, False, True], 1, 0)
    assert first.share.tolist() == [1.0, 1.0]


def test_options_in_another_order_are_not_compared():
    same = answers("a", [0] * 20)
    one_moved = answers("b", [0] * 20, gold=[1, *[0] * 19])
    first, second = agreement([same, one_moved])
    assert first.left_out == second.left_out == 1
    assert first.share.tolist() == [1.0] * 19
    shuffled = answers("b", [0] * 20, gold=[1, 2, 1, *[0] * 17])
    for one in agreement([same, shuffled]):
        assert not one.used.any()
        assert (one.left_out, len(one.share)) == (20, 0)
        assert np.isnan(one.others)
