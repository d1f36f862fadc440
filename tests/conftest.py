"""What holds for every tier."""

import signal
from pathlib import Path

import hypothesis
import pytest

HERE = Path(__file__).parent

# an example may wait for a busy machine
hypothesis.settings.register_profile("polycal", deadline=None)
hypothesis.settings.load_profile("polycal")

# A shell ignores SIGINT for what it starts in the background, and children inherit that. Tests that interrupt a
# workflow as Ctrl-C does need the signal to arrive.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# pytest-xdist reads the groups in the same hook
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Tests of a file run in one process, because they share what they prepare, unless they are marked ``apart``."""
    for item in items:
        if not any(item.iter_markers("apart")) and not any(item.iter_markers("xdist_group")):
            item.add_marker(pytest.mark.xdist_group(str(item.path.relative_to(HERE))))
