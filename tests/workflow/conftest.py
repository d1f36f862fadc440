"""A tiny study that is computed once. Each test edits a copy of it."""

import os

import pytest
from helpers.hub import Hub
from helpers.world import FURTHER, OTHER, World

from polycal.store import locks


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """The computed study. The first process of pytest that needs it computes it, and the others read it."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "prepared"
    with locks.acquire("prepared", folder / "whole"):
        if not (folder / "whole").exists():
            world = World(folder / "half", Hub()).build()
            assert world.run() == {
                "fetch_model": 1, "fetch_instructions": 1, "fetch_benchmark": 2, "check_parallel": 1, "finetune": 2,
                "score": 6, "measure": 1, "report": 1,
            }  # fmt: skip
            assert world.planned() == {}
            world.work.parent.rename(folder / "whole")
    world = World(folder / "whole", Hub())
    world.publish()
    world.hub.commits.add(OTHER)
    return world


@pytest.fixture(scope="session")
def further(prepared, tmp_path_factory):
    world = prepared.copy(tmp_path_factory.mktemp("further") / "whole")
    world.configure(FURTHER)
    computed = world.run()
    assert computed["embed"] == 6
    assert computed["score_next_token"] == 3
    assert computed["generate"] == computed["cluster"] == 6
    return world


@pytest.fixture
def world(prepared, tmp_path):
    return prepared.copy(tmp_path / "copy")
