"""Conversations in a temporary Arrow file, so that the memory does not grow with their number."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from polycal.artifacts import records

BATCH_ROWS = 1000
"""Number of rows in a record batch of the file."""
GATHERED_ROWS = 4000
"""Number of rows that ``gather`` keeps in memory at a time."""

Conversation = dict[str, Any]


def write(conversations: Iterator[Conversation], path: Path) -> int:
    """Write conversations to an Arrow file in batches, and return their number."""
    total = 0
    batch: list[Conversation] = []
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, records.CONVERSATION) as writer:
        for row in conversations:
            batch.append(row)
            if len(batch) == BATCH_ROWS:
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=records.CONVERSATION))
                total, batch = total + len(batch), []
        if batch:
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=records.CONVERSATION))
    return total + len(batch)


def read(path: Path) -> Iterator[Conversation]:
    """The conversations of an Arrow file, in the order of the file."""
    with pa.memory_map(str(path)) as source:
        reader = pa.ipc.open_file(source)
        for number in range(reader.num_record_batches):
            yield from reader.get_batch(number).to_pylist()


def gather(path: Path, order: NDArray[np.int64], heldout: int) -> Iterator[Conversation]:
    """The conversations with the row numbers ``order`` [N] of an Arrow file, in that order.

    The first ``heldout`` of them get the split heldout, the others get train. ``Table.take`` would copy whole
    columns, so the rows are taken from each batch and then sorted.
    """
    with pa.memory_map(str(path)) as source:
        reader = pa.ipc.open_file(source)
        for start in range(0, len(order), GATHERED_ROWS):
            rows = order[start : start + GATHERED_ROWS]
            by_row = np.argsort(rows, kind="stable")
            ascending = rows[by_row]
            parts = []
            for number in np.unique(ascending // BATCH_ROWS):
                within = ascending[ascending // BATCH_ROWS == number] - number * BATCH_ROWS
                parts.append(reader.get_batch(int(number)).take(pa.array(within)))
            inverse = pa.array(np.argsort(by_row, kind="stable"))
            gathered = pa.Table.from_batches(parts).combine_chunks().take(inverse)
            position = start
            for batch in gathered.to_batches(max_chunksize=BATCH_ROWS):
                for row in batch.to_pylist():
                    yield {**row, "split": "heldout" if position < heldout else "train"}
                    position += 1
