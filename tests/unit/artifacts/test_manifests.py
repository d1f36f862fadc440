"""Manifests of JSON and Parquet files."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polycal.artifacts import files, manifests, records

ROW = {"question_id": "1", "embedding": [1.0]}


def test_a_manifest_is_read_from_json_and_parquet(tmp_path):
    files.write_json(tmp_path / "manifest.json", {"stage": "finetune"})
    assert manifests.read(tmp_path / "manifest.json") == {"stage": "finetune"}
    content = records.write(tmp_path / "e.parquet", [ROW], records.EMBEDDING, {"stage": "embed"})
    assert manifests.read(tmp_path / "e.parquet") == {"stage": "embed", "content": content}


def test_other_files_have_an_empty_manifest(tmp_path):
    files.write_json(tmp_path / "list.json", [1])
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    assert manifests.read(tmp_path / "list.json") == {}
    assert manifests.read(tmp_path / "other.parquet") == {}


@pytest.mark.parametrize("name", ["x.json", "x.parquet"])
def test_missing_and_broken_files_are_refused(tmp_path, name):
    with pytest.raises(manifests.ManifestError, match=f"{name}: no such file"):
        manifests.read(tmp_path / name)
    (tmp_path / name).write_text("{broken")
    with pytest.raises(manifests.ManifestError, match=f"{name}: broken or cut off"):
        manifests.read(tmp_path / name)
