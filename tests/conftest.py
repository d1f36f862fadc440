"""What holds for every tier."""

import functools
import os
import signal
from pathlib import Path

import hypothesis
from xdist.scheduler import LoadScopeScheduling

# an example may wait for a busy machine
hypothesis.settings.register_profile("polycal", deadline=None)
hypothesis.settings.load_profile("polycal")

# Without a GPU, Triton's kernels run in its interpreter. Triton reads this variable when it is imported.
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# A shell ignores SIGINT for what it starts in the background, and children inherit that. Tests that interrupt a
# workflow as Ctrl-C does need the signal to arrive.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class ByFile(LoadScopeScheduling):
    """Sends the tests of a file to one process, because they share what they prepare, unless the file is ``apart``.

    ``--dist loadgroup`` of pytest-xdist 3.8 has no effect with pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return nodeid if _is_apart(self.config.rootpath / file) else file


@functools.cache
def _is_apart(file: Path) -> bool:
    return "pytestmark = pytest.mark.apart" in file.read_text(encoding="utf-8")


def pytest_xdist_make_scheduler(config, log):
    # long tests come first in the order of collection
    config.option.loadscopereorder = False
    return ByFile(config, log)
