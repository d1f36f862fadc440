from polycal.scoring import token_trees
from polycal.scoring.candidates import Candidate


def tree(*texts, start=1):
    """The tree of candidates with the tokens ``texts``, which begin at ``start``."""
    return token_trees.build_tree([Candidate(0, n, list(t), start) for n, t in enumerate(texts)])


def test_a_shared_prefix_is_one_path_of_the_tree():
    built = tree((1, 2, 7), (1, 2, 8), (1, 2, 7, 9), (1, 2, 8, 3, 4), start=2)
    assert built.tokens.tolist() == [1, 2, 7, 8, 3]
    assert built.depth.tolist() == [0, 1, 2, 2, 3]
    assert built.end.tolist() == [5, 5, 3, 5, 5]
    reads = sorted((r.option, r.node, r.token) for r in built.reads)
    assert reads == [(0, 1, 7), (1, 1, 8), (2, 1, 7), (2, 2, 9), (3, 1, 8), (3, 3, 3), (3, 4, 4)]
    assert not built.is_sequence
    assert tree((1, 2, 7), (1, 2, 8), start=2).is_sequence


def test_linear_trees_never_branch_and_read_every_candidate_once():
    texts = [(1, 2, 7), (1, 2, 8), (1, 2, 7, 9), (1, 2, 8, 3, 4)]
    trees = token_trees.linear_trees([Candidate(0, n, list(t), 2) for n, t in enumerate(texts)])
    assert all(linear.is_sequence for linear in trees)
    assert sorted(len(linear) for linear in trees) == [3, 4]
    assert sorted(r.option for linear in trees for r in linear.reads) == [0, 1, 2, 2, 3, 3, 3]


def test_a_shared_prefix_ends_at_a_branch_a_difference_or_a_prediction():
    length, long = token_trees.shared_prefix_length, tuple(range(40))
    assert length([tree((*long, 50, 60), start=41), tree((*long, 51, 60), start=41)]) == 40
    assert length([tree((*long, 50), start=30), tree((*long, 51), start=40)]) == 29
    branching = tree((*long[:10], 98, 1, 1), (*long[:10], 99, 1, 1), start=12)
    assert length([branching, tree((*long, 50), start=40)]) == 10


def test_trees_share_the_prefix_of_their_examples_if_it_is_long():
    long, short = tuple(range(40)), tuple(range(10))
    trees = [
        ("a", tree((*long, 50, 60), start=41)),
        ("b", tree((*short, 50, 60), start=11)),
        ("a", tree((*long, 51, 60), start=41)),
        ("b", tree((*short, 51, 60), start=11)),
    ]
    (no_prefix, single), (prefix, shared) = token_trees.group_by_prefix(trees)
    assert len(no_prefix) == 0
    assert [built.tokens[-1] for built in single] == [50, 51]
    assert prefix.tolist() == list(long)
    assert [(built.tokens.tolist(), built.depth.tolist()) for built in shared] == [([50], [40]), ([51], [40])]
