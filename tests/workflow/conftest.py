"""One tiny study, computed once; every test edits a copy of it."""

import pytest
from hub import Hub
from world import World

OTHER = "f" * 40
"""Another commit of the instruction set, with the same rows."""


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("reruns") / "whole", Hub()).build()
    world.hub.commits.add(OTHER)
    assert world.run() == {
        "fetch_model": 1, "fetch_instructions": 1, "fetch_benchmark": 2, "check_parallel": 1, "finetune": 2,
        "score": 6, "measure": 1, "present": 1,
    }  # fmt: skip
    assert world.planned() == {}
    return world


FURTHER = {
    "embeddings": {"benchmark": "mine", "protocol": "letters-0shot"},
    "heldout": {"data": ["talks"]},
    "data.talks.heldout": 0.3,
}
"""Prompts embedded and next tokens predicted, as only some studies ask."""


@pytest.fixture(scope="session")
def further(prepared, tmp_path_factory):
    world = prepared.copy(tmp_path_factory.mktemp("further") / "whole")
    world.configure(FURTHER)
    computed = world.run()
    assert computed["embed"] == 6
    assert computed["next_token"] == 3
    return world


@pytest.fixture
def world(prepared, tmp_path):
    return prepared.copy(tmp_path / "copy")
