"""An acceptance makes two code versions of a stage equivalent."""

import pytest

from polycal.artifacts import files
from polycal.store import acceptances


def test_an_acceptance_joins_two_versions(tmp_path, monkeypatch):
    accepted = tmp_path / "accepted.yaml"
    rest = {"because": "renamed", "author": "someone", "commit": "0" * 40, "date": "2026-01-01"}
    pairs = [("aaa", "bbb"), ("bbb", "ccc")]
    files.write_json(accepted, [{"stage": "score", "old": old, "new": new, **rest} for old, new in pairs])
    monkeypatch.setattr(acceptances, "ACCEPTED", accepted)
    assert acceptances.accepted_version("score", "ccc")[0] == "aaa"
    assert [e["old"] for e in acceptances.accepted_version("score", "ccc")[1]] == ["bbb", "aaa"]
    assert acceptances.accepted_version("score", "ddd") == ("ddd", [])


@pytest.mark.parametrize("content", [{"stage": "score", "old": "aaa", "new": "bbb"}, "score"])
def test_a_file_that_is_no_list_of_entries_is_refused(tmp_path, monkeypatch, content):
    accepted = tmp_path / "accepted.yaml"
    files.write_json(accepted, content)
    monkeypatch.setattr(acceptances, "ACCEPTED", accepted)
    with pytest.raises(acceptances.AcceptanceError, match="must be a list of entries"):
        acceptances.accepted_version("score", "aaa")
