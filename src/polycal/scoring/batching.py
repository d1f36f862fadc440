"""Batches of sequences with a limited number of padded tokens."""

from collections.abc import Iterator, Sequence


def batches(lengths: Sequence[int], token_budget: int) -> Iterator[list[int]]:
    """Batches of row numbers, longest rows first. ``lengths`` contains the length of each row.

    A batch contains as many rows as fit into ``token_budget`` tokens, with all rows padded to the longest
    one. It contains at least one row.
    """
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        if batch and lengths[batch[0]] * (len(batch) + 1) > token_budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
