"""Tables of results: Parquet files written from data frames, with a manifest and the checksum of their rows."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from polycal.artifacts import files, records


def write(table: pd.DataFrame, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write ``table`` to ``path`` atomically.

    ``metadata`` and ``content``, the checksum of the rows, are stored as JSON under the key ``polycal`` of
    the Parquet metadata. The metadata that pandas needs to restore the types is kept.
    """
    rows = pa.Table.from_pandas(table, preserve_index=False)
    text = json.dumps({**metadata, "content": records.checksum(rows)}, sort_keys=True, default=str)
    rows = rows.replace_schema_metadata({**(rows.schema.metadata or {}), b"polycal": text.encode()})
    with files.replacing(path) as part:
        pq.write_table(rows, part, compression="zstd", write_page_checksum=True)
