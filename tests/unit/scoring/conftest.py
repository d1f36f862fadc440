import pytest
from helpers import models as tiny
from helpers.multiple_choice import ROWS

from polycal.artifacts import records


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """A tiny model of each architecture."""
    base = tmp_path_factory.mktemp("models")
    return {name: tiny.save(name, base / name) for name in tiny.ARCHITECTURES}


@pytest.fixture
def questions(tmp_path):
    """A file with the questions in ``helpers.multiple_choice``."""
    records.write(tmp_path / "questions.parquet", ROWS, records.QUESTION)
    return tmp_path / "questions.parquet"
