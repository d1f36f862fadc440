"""Candidates as trees of tokens, in which whatever they share stands once.

The candidates of one question begin with the same prompt, and often alike after it. As a tree, each token
is one node, whose position is its depth and which sees its ancestors and itself: exactly what it would see
in a sequence of its own. Nodes stand in preorder, so that node ``a`` is an ancestor of ``b`` where
``a < b < end[a]``.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

# A shared beginning shorter than this is cheaper to process again than to keep.
WORTH_SHARING = 32

NOTHING = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Candidate:
    """One candidate of a question: the tokens of the whole text, and where the candidate begins in them."""

    question: int
    option: int
    tokens: Sequence[int]
    start: int


@dataclass(frozen=True)
class Read:
    """One prediction that is wanted: at ``node``, of ``token``, for an option of a question."""

    node: int
    token: int
    question: int
    option: int


@dataclass(frozen=True)
class Tree:
    """Nodes in preorder (``tokens``, ``depth``, ``end``, each [nodes]) and what is read at them.

    ``end`` is one past a node's last descendant; ``depth`` counts from the beginning of the sequence.
    """

    tokens: np.ndarray
    depth: np.ndarray
    end: np.ndarray
    reads: tuple[Read, ...]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def unbranched(self) -> bool:
        """True where every node sees all nodes before it."""
        return bool((self.end == len(self)).all())

    @property
    def straight(self) -> bool:
        """True where no node branches and nothing stands before the first: an ordinary sequence."""
        return bool(self.depth[0] == 0) and self.unbranched

    def behind(self, length: int) -> "Tree":
        """What is left of the tree behind its first ``length`` nodes, which must not branch or be read."""
        reads = tuple(Read(r.node - length, r.token, r.question, r.option) for r in self.reads)
        return Tree(self.tokens[length:], self.depth[length:], self.end[length:] - length, reads)


def grow(candidates: Iterable[Candidate]) -> Tree:
    """One tree that predicts every token of every candidate. The last tokens are predicted, never read."""
    tokens: list[int] = []
    depth: list[int] = []
    end: list[int] = []
    path: list[int] = []
    before: Sequence[int] = []
    reads = []
    # Sorted, sequences that begin alike stand together: what one shares, it shares with the one before it.
    for one in sorted(candidates, key=lambda c: (list(c.tokens), c.option)):
        wanted = one.tokens[:-1]
        same = common(before, wanted)
        for node in path[same:]:
            end[node] = len(tokens)
        del path[same:]
        path += range(len(tokens), len(tokens) + len(wanted) - same)
        tokens += wanted[same:]
        depth += range(same, len(wanted))
        end += [0] * (len(wanted) - same)
        before = wanted
        reads += [
            Read(path[place - 1], one.tokens[place], one.question, one.option)
            for place in range(one.start, len(one.tokens))
        ]
    for node in path:
        end[node] = len(tokens)
    return Tree(np.array(tokens, np.int64), np.array(depth, np.int64), np.array(end, np.int64), tuple(reads))


def chains(candidates: Iterable[Candidate]) -> list[Tree]:
    """Trees without branches, for models that know only ordinary sequences: as few as predict everything.

    A candidate whose input begins another's is read on that one's chain.
    """
    served: list[tuple[Sequence[int], list[Candidate]]] = []
    for one in sorted(candidates, key=lambda c: (-len(c.tokens), c.option)):
        wanted = one.tokens[:-1]
        for longer, owners in served:
            if longer[: len(wanted)] == wanted:
                owners.append(one)
                break
        else:
            served.append((wanted, [one]))
    return [grow(owners) for _, owners in served]


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many leading elements are the same; slices are compared as wholes, which is fast."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def trunk(trees: Sequence[Tree]) -> int:
    """Number of leading nodes that all trees share, none of them branching or read."""
    first = trees[0]
    length = min(min(r.node for r in tree.reads) for tree in trees)
    for tree in trees:
        if not tree.unbranched:
            length = min(length, int((tree.end == len(tree)).argmin()))
        differs = first.tokens[:length] != tree.tokens[:length]
        length = int(differs.argmax()) if differs.any() else length
    return length


def shared(groups: Sequence[tuple[str, Tree]]) -> Iterator[tuple[np.ndarray, list[Tree]]]:
    """(tokens of a shared beginning, trees behind it). What shares nothing comes first, behind no tokens.

    ``groups`` names for each tree the group whose examples it stands behind.
    """
    alone: list[Tree] = []
    behind: list[tuple[np.ndarray, list[Tree]]] = []
    for _, members in groupby(sorted(groups, key=lambda pair: pair[0]), key=lambda pair: pair[0]):
        trees = [tree for _, tree in members]
        length = trunk(trees) if len(trees) > 1 else 0
        if length < WORTH_SHARING:
            alone += trees
        else:
            behind.append((trees[0].tokens[:length], [tree.behind(length) for tree in trees]))
    if alone:
        yield NOTHING, alone
    yield from behind


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Numbers of rows by falling length, as many a batch as fit ``budget`` padded tokens, at least one."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        if batch and lengths[batch[0]] * (len(batch) + 1) > budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
