"""The Slurm tier: one cluster per process of pytest. Without Slurm it is skipped, and the summary says so.

The tests mostly wait. Several processes can therefore share two cores: ``--numprocesses 3``.
"""

import os
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))

from helpers.cluster import missing, running, short_folder
from helpers.runs import Prepared

from polycal.store import locks

LACKING = missing()
LONGEST = ("test_nodes", "test_training")


def pytest_collection_modifyitems(items):
    mine = [item for item in items if item.path.parent == Path(__file__).parent]
    # the longest tests start first, because all other processes would wait for a long test that starts last
    mine.sort(key=lambda item: item.path.stem not in LONGEST)
    items[:] = [item for item in items if item not in mine] + mine
    for item in items:
        if LACKING and Path(__file__).parent in item.path.parents:
            item.add_marker(
                pytest.mark.skip(reason=f"no Slurm on this machine: {', '.join(LACKING)} missing")
            )


def pytest_terminal_summary(terminalreporter):
    if LACKING:
        terminalreporter.section("SLURM TIER LEFT OUT", sep="!", red=True)
        terminalreporter.line(f"tests/slurm did not run: {', '.join(LACKING)} missing; see docs/faults.md.")


@pytest.fixture(scope="session")
def folder():
    with short_folder("polycal-slurm-") as made:
        yield made


@pytest.fixture(scope="session")
def cluster(folder):
    with running(folder / "cluster") as made:
        yield made


@pytest.fixture(scope="session")
def prepared(folder, tmp_path_factory):
    """A tiny study that was fetched, trained and scored without faults.

    The first process of pytest that needs it computes it, and the others read it.
    """
    own = tmp_path_factory.getbasetemp()
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "slurm"
    (folder / "studies").mkdir()
    with locks.acquire("prepared", shared / "whole"):
        if not (shared / "whole").exists():
            half = Prepared(folder / "studies", shared / "half").build()
            half.whole.work.parent.rename(shared / "whole")
    return Prepared(folder / "studies", shared / "whole").read()


@pytest.fixture
def study(prepared, cluster, request):
    """A copy of the study without scores, to be run on the cluster."""
    made = prepared.study(re.sub(r"\W", "_", request.node.name), cluster)
    yield made
    made.end()


@pytest.fixture
def untrained(prepared, cluster, request):
    """A copy of the study without checkpoints and scores, to be run on the cluster."""
    made = prepared.study(re.sub(r"\W", "_", request.node.name), cluster, trained=False)
    yield made
    made.end()
