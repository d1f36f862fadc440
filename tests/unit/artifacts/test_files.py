"""Atomic writes, checksums and canonical JSON."""

import errno
import hashlib
import json

import pytest

from polycal.artifacts import files


def test_a_file_is_replaced_completely_or_not_at_all(tmp_path):
    path = tmp_path / "new/folder/x.txt"
    files.write_text(path, "old ü")

    def fail_half_way():
        with files.replacing(path) as part:
            part.write_text("new")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert path.read_text(encoding="utf-8") == "old ü"
    assert [p.name for p in path.parent.iterdir()] == ["x.txt"]


def test_two_writers_do_not_share_a_temporary_file(tmp_path):
    path = tmp_path / "x.txt"
    with files.replacing(path) as first, files.replacing(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def test_json_is_sorted_and_canonical(tmp_path):
    value = {"b": [1, {"ü": None}], "a": "<script>"}
    files.write_json(tmp_path / "x.json", value)
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == value
    text = files.canonical_json(value)
    assert text == '{"a":"\\u003cscript>","b":[1,{"ü":null}]}'
    assert json.loads(text) == value
    assert files.canonical_json(dict(reversed(value.items()))) == text


def test_checksums_and_full_disks(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert files.sha256(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()
    assert files.is_disk_full(OSError(errno.ENOSPC, "No space left on device"))
    assert files.is_disk_full(OSError(errno.EDQUOT, "Disk quota exceeded"))
    assert not files.is_disk_full(OSError(errno.EACCES, "denied"))
