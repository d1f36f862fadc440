"""A page that is made from results of several code versions says so."""

from pathlib import Path

import pytest

from polycal.audit.artifact_index import Artifact
from polycal.audit.lineage import LineageNode
from polycal.report import provenance_page
from polycal.store import acceptances


def nodes(*codes):
    made = []
    for number, (stage, code) in enumerate(codes):
        manifest = {"stage": stage, "code": code, "cell": {}, "fingerprint": f"{number:064}"}
        made.append(LineageNode(Artifact(f"{number}", manifest, Path(str(number)))))
    return made


def test_results_of_one_version_per_stage_are_no_mixture():
    assert provenance_page.mixtures(nodes(("score", "a"), ("score", "a"), ("measure", "b"))) == []


def test_a_mixture_is_named_with_its_versions():
    mixed = nodes(("score", "a"), ("score", "b"), ("score", "a"), ("measure", "c"), ("of another time", "d"))
    assert provenance_page.mixtures(mixed) == ["Score records: 2 by version a, 1 by version b"]


@pytest.mark.parametrize(
    ("accepted", "expected"), [("b", []), ("z", ["Score records: 1 by version a, 1 by version b"])]
)
def test_versions_that_an_acceptance_joins_are_no_mixture(monkeypatch, accepted, expected):
    entry = {"stage": "score", "old": "a", "new": accepted}
    monkeypatch.setattr(acceptances, "acceptances", lambda stage=None: [entry])
    assert provenance_page.mixtures(nodes(("score", "a"), ("score", "b"))) == expected
