import json

import pandas as pd
import pyarrow.parquet as pq
import pytest

from polycal.artifacts import records, tables


def test_a_table_contains_its_metadata_and_the_checksum_of_its_rows(tmp_path):
    path = tmp_path / "new folder" / "t.parquet"
    table = pd.DataFrame({"name": ["a", "b"], "value": [0.1, None]})
    tables.write(table, path, {"table": "t"})
    metadata = json.loads(pq.read_schema(path).metadata[b"polycal"])
    assert metadata == {"table": "t", "content": records.content(path)} == records.metadata(path)
    pd.testing.assert_frame_equal(pd.read_parquet(path), table)
    assert [p.name for p in path.parent.iterdir()] == ["t.parquet"]


def test_a_failed_write_leaves_the_old_table(tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"
    tables.write(pd.DataFrame({"value": [1]}), path, {})

    def fail(rows, part, **options):
        part.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(OSError, match="disk full"):
        tables.write(pd.DataFrame({"value": [2]}), path, {})
    assert pd.read_parquet(path).value.tolist() == [1]
    assert [p.name for p in tmp_path.iterdir()] == ["t.parquet"]
