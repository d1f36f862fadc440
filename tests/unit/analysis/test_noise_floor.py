import numpy as np
import pytest

from polycal.analysis.noise_floor import noise_floor
from polycal.metrics import calibration


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_noise_floor_is_the_ece_of_a_calibrated_model(binning):
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.3, 1, 300)
    uniform = rng.random((200, 300), dtype=np.float32)
    mean, high = noise_floor(confidence, uniform, bins=15, binning=binning)
    plain = [
        calibration.ece(confidence, rng.random(300) < confidence, bins=15, binning=binning)
        for _ in range(400)
    ]
    assert mean == pytest.approx(np.mean(plain), abs=0.003)
    assert high == pytest.approx(np.quantile(plain, 0.95), abs=0.006)


def test_noise_floor_of_certain_answers_is_zero():
    uniform = np.random.default_rng(0).random((200, 10), dtype=np.float32)
    assert noise_floor(np.ones(10), uniform, bins=15, binning="width") == (0.0, 0.0)
