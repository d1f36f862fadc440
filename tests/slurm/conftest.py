"""The Slurm tier: a cluster for all of its tests, left out with a loud word where Slurm is missing."""

import re
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))

from helpers.cluster import Cluster, missing
from helpers.runs import Prepared

LACKING = missing()


def pytest_collection_modifyitems(items):
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
    # short: a socket's path holds about a hundred characters
    made = Path(tempfile.mkdtemp(prefix="polycal-slurm-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster(folder):
    made = Cluster(folder / "cluster")
    try:
        yield made.up()
    finally:
        made.down()


@pytest.fixture(scope="session")
def prepared(folder):
    """A tiny study, fetched, trained and scored undisturbed."""
    return Prepared(folder / "studies").build()


@pytest.fixture
def study(prepared, cluster, request):
    """A copy of the study with nothing scored yet, to be run on the cluster."""
    made = prepared.study(re.sub(r"\W", "_", request.node.name), cluster)
    yield made
    made.end()


@pytest.fixture
def untrained(prepared, cluster, request):
    """A copy of the study with nothing trained and nothing scored."""
    made = prepared.study(re.sub(r"\W", "_", request.node.name), cluster, trained=False)
    yield made
    made.end()
