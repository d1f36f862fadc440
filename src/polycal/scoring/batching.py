"""Batches of sequences under a budget of padded tokens."""

from collections.abc import Iterator, Sequence


def batches(lengths: Sequence[int], token_budget: int) -> Iterator[list[int]]:
    """Batches of row numbers, longest rows first.

    A batch holds as many rows as fit ``token_budget`` when padded to its longest, but at least one.
    """
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        if batch and lengths[batch[0]] * (len(batch) + 1) > token_budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
