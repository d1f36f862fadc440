import numpy as np
import pytest

from polycal.metrics import chebyshev


def test_interpolation_is_exact_for_polynomials():
    nodes = chebyshev.nodes(6)
    x = np.linspace(-1, 1, 11)
    for power in range(6):
        assert chebyshev.interpolation_weights(x, 6) @ nodes**power == pytest.approx(x**power, abs=1e-13)
