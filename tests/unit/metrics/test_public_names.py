"""What ``polycal.metrics`` offers to other projects."""

import subprocess
import sys

import pytest

from polycal import metrics


def test_all_public_names_exist_and_have_docstrings():
    assert len(metrics.__all__) == len(set(metrics.__all__))
    assert all(getattr(metrics, name).__doc__ for name in metrics.__all__)


@pytest.mark.parametrize("missing", [["torch", "transformers", "scipy", "pandas", "pyarrow", "pydantic"]])
def test_numpy_is_enough(missing):
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({missing}))\n"
        "from polycal.metrics import ece\n"
        "assert ece([0.5, 0.5], [1, 0]) == 0.0\n"
        "assert not [m for m in sys.modules if m.startswith('polycal.') and m.split('.')[1] != 'metrics']"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
