"""Candidates as trees of tokens, in which a prefix that several candidates share is one path of nodes.

The candidates of a question follow the same prompt, and often begin with the same tokens. Each token is a
node. Its position is its depth, and it attends to its ancestors and itself, as in a sequence of its own.
Nodes are stored in preorder, so node a is an ancestor of node b if a < b < ``end[a]``.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from polycal.scoring.candidates import Candidate, common_prefix_length

MIN_SHARED_PREFIX = 32
"""Number of tokens. To compute a shorter prefix again is cheaper than to cache it."""

NO_PREFIX = np.empty(0, dtype=np.int64)
"""The tokens of an empty prefix."""


@dataclass(frozen=True)
class Read:
    """A prediction to read: the log-probability of ``token`` after ``node``, for an option of a question."""

    node: int
    token: int
    question: int
    option: int


@dataclass(frozen=True)
class Tree:
    """Nodes in preorder, and the predictions to read at them.

    ``tokens``, ``depth`` and ``end`` are int64 [nodes]. ``depth`` is the position in the sequence, from 0.
    ``end`` is the index after a node's last descendant.
    """

    tokens: np.ndarray
    depth: np.ndarray
    end: np.ndarray
    reads: tuple[Read, ...]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def unbranched(self) -> bool:
        """Whether every node attends to all nodes before it."""
        return bool((self.end == len(self)).all())

    @property
    def is_sequence(self) -> bool:
        """Whether the tree is an ordinary sequence: it has no branch, and its first node has depth 0."""
        return bool(self.depth[0] == 0) and self.unbranched

    def drop_prefix(self, length: int) -> "Tree":
        """The tree without its first ``length`` nodes.

        These must have no branch and no prediction to read.
        """
        reads = tuple(Read(r.node - length, r.token, r.question, r.option) for r in self.reads)
        return Tree(self.tokens[length:], self.depth[length:], self.end[length:] - length, reads)


def build_tree(candidates: Iterable[Candidate]) -> Tree:
    """One tree with all candidates, in which every token of each candidate is predicted.

    The last token of a candidate is predicted but does not need a node.
    """
    tokens: list[int] = []
    depth: list[int] = []
    end: list[int] = []
    path: list[int] = []
    previous: Sequence[int] = []
    reads = []
    # In sorted order, no earlier candidate shares a longer prefix with a candidate than the previous one.
    for candidate in sorted(candidates, key=lambda c: (list(c.tokens), c.option)):
        inputs = candidate.tokens[:-1]
        shared = common_prefix_length(previous, inputs)
        for node in path[shared:]:
            end[node] = len(tokens)
        del path[shared:]
        path += range(len(tokens), len(tokens) + len(inputs) - shared)
        tokens += inputs[shared:]
        depth += range(shared, len(inputs))
        end += [0] * (len(inputs) - shared)
        previous = inputs
        reads += [
            Read(path[position - 1], candidate.tokens[position], candidate.question, candidate.option)
            for position in range(candidate.start, len(candidate.tokens))
        ]
    for node in path:
        end[node] = len(tokens)
    return Tree(np.array(tokens, np.int64), np.array(depth, np.int64), np.array(end, np.int64), tuple(reads))


def linear_trees(candidates: Iterable[Candidate]) -> list[Tree]:
    """Trees without branches, as few as possible, for models that support only ordinary sequences.

    If the input of a candidate is a prefix of another one's input, both share a tree.
    """
    groups: list[tuple[Sequence[int], list[Candidate]]] = []
    for candidate in sorted(candidates, key=lambda c: (-len(c.tokens), c.option)):
        inputs = candidate.tokens[:-1]
        for longer, members in groups:
            if longer[: len(inputs)] == inputs:
                members.append(candidate)
                break
        else:
            groups.append((inputs, [candidate]))
    return [build_tree(members) for _, members in groups]


def shared_path(prefix: np.ndarray, tree: Tree, later: Tree) -> list[int]:
    """The nodes of ``tree``, from its first one on, that the first nodes of ``later`` repeat.

    ``tree`` follows the tokens ``prefix``, int64 [length], and ``later`` begins with them. The nodes of ``later``
    that are repeated have no branch and no prediction to read. The result is empty if ``later`` does not begin
    with the prefix in that sense.
    """
    start = len(prefix)
    most = shared_prefix_length([later])
    if most <= start or not np.array_equal(later.tokens[:start], prefix):
        return []
    path: list[int] = []
    for node in range(len(tree)):
        position = start + len(path)
        if position == most:
            break
        if path and node >= tree.end[path[-1]]:
            break
        if tree.depth[node] == position and tree.tokens[node] == later.tokens[position]:
            path.append(node)
    return path


def shared_prefix_length(trees: Sequence[Tree]) -> int:
    """The number of leading nodes that all trees share and that have no branch and no prediction to read."""
    first = trees[0]
    length = min(min(r.node for r in tree.reads) for tree in trees)
    for tree in trees:
        if not tree.unbranched:
            length = min(length, int((tree.end == len(tree)).argmin()))
        differs = first.tokens[:length] != tree.tokens[:length]
        length = int(differs.argmax()) if differs.any() else length
    return length


def group_by_prefix(trees: Sequence[tuple[str, Tree]]) -> Iterator[tuple[np.ndarray, list[Tree]]]:
    """Group trees by their shared prefix. Yields the tokens of a prefix and its trees without the prefix.

    ``trees`` are pairs of few-shot examples and a tree. Trees with the same examples are grouped if their
    shared prefix has at least ``MIN_SHARED_PREFIX`` tokens. All other trees are the first group, with
    ``NO_PREFIX``.
    """
    single: list[Tree] = []
    shared: list[tuple[np.ndarray, list[Tree]]] = []
    for _, pairs in groupby(sorted(trees, key=lambda pair: pair[0]), key=lambda pair: pair[0]):
        members = [tree for _, tree in pairs]
        length = shared_prefix_length(members) if len(members) > 1 else 0
        if length < MIN_SHARED_PREFIX:
            single += members
        else:
            shared.append((members[0].tokens[:length], [tree.drop_prefix(length) for tree in members]))
    if single:
        yield NO_PREFIX, single
    yield from shared
