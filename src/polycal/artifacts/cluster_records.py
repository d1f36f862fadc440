"""Records of the clusters of generated answers: which answers to a question mean the same.

They are Parquet files like those of ``records``, which writes them.
"""

import os

import pyarrow as pa

from polycal.artifacts import records
from polycal.artifacts.records import RecordError

CLUSTER = pa.schema(
    [
        ("question_id", pa.string()),
        ("greedy", pa.int32()),
        ("samples", pa.list_(pa.int32())),
        ("texts", pa.int32()),
    ]
)
"""A row is one question.

``greedy`` is the number of the greedy answer's cluster, and ``samples`` are those of the sampled answers, in the order
of the record of answers. Clusters are numbered from 0 in the order of their first answers; the greedy one comes first.
``texts`` is the number of different texts that were clustered, after normalisation and without empty ones.
"""


def read_clusters(path: str | os.PathLike[str]) -> pa.Table:
    """The clusters of a file, in the schema CLUSTER.

    Raises RecordError if the file is missing, truncated or of another schema, if it contains no question, and if a
    value is missing.
    """
    table = records.read_columns(path, CLUSTER, "cluster")
    if not table.num_rows:
        raise RecordError(f"{path}: contains no question; at least one is needed.")
    if any(table[name].null_count for name in CLUSTER.names):
        raise RecordError(f"{path}: a value is missing; every question needs all of them.")
    return table
