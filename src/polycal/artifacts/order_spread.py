"""The column ``order_spread`` of score records: how much the order of the options changes the answer.

Only records of protocols that ask a question in several orders have it.
"""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from polycal.artifacts import records
from polycal.artifacts.records import RecordError

FIELD = pa.field("order_spread", pa.float32())
"""Mean over the orders of the total variation distance from the mean distribution, in [0, 1)."""


def read(path: str | os.PathLike[str]) -> NDArray[np.float64] | None:
    """The values of a score record, [N], in the order of its rows; None if it has no such column.

    The footer of the file must be whole. Raises RecordError if the file is altered, and if a value is empty or outside [0, 1].
    """
    if FIELD.name not in pq.read_schema(path).names:
        return None
    column = records.whole(path)[FIELD.name].cast(FIELD.type)
    values = column.to_numpy().astype(np.float64)
    if column.null_count or not ((values >= 0) & (values <= 1)).all():
        raise RecordError(
            f"{path}: a value of {FIELD.name} is empty or not between 0 and 1; make the record again."
        )
    return values
