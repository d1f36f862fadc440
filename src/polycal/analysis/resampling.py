"""Bootstrap samples of a benchmark's questions, or of the conversations of a held-out set.

Questions are parallel over languages and conditions, so all cells of a benchmark share the same samples of
question ids. Differences between cells and means over languages are then paired.
"""

import zlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

FLOOR_SAMPLES = 200
"""Simulations of the noise floor."""
COSTLY_SAMPLES = 100
"""Bootstrap samples of metrics that need a search in each: smooth ECE, refitted temperatures."""


class Resamples:
    """Bootstrap samples of ids, drawn with replacement and determined by (seed, stream, ids).

    ``weights`` [R, N] is the number of times that sample r contains id n. ``stream`` is usually the name of
    the benchmark. ``uniform`` [FLOOR_SAMPLES, N], in [0, 1), determines the labels of the noise floor.
    """

    def __init__(self, stream: str, unit_ids: Iterable[str], samples: int, seed: int) -> None:
        self.ids = np.array(list(dict.fromkeys(unit_ids)), dtype=object)
        self.column_of = {name: column for column, name in enumerate(self.ids)}
        n = len(self.ids)
        self.all_columns = np.arange(n)
        number = zlib.crc32(stream.encode())
        rng = np.random.default_rng([seed, number])
        self.weights = np.empty((samples, n))
        for row in self.weights:
            row[:] = np.bincount(rng.integers(0, n, n), minlength=n)
        self.uniform = np.random.default_rng([seed, number, 1]).random((FLOOR_SAMPLES, n), dtype=np.float32)

    def columns(self, unit_ids: NDArray[np.object_]) -> NDArray[np.int64]:
        """The columns of these ids. If they are all ids in order, the result is ``all_columns`` itself."""
        if np.array_equal(unit_ids, self.ids):
            return self.all_columns
        return np.fromiter((self.column_of[name] for name in unit_ids), np.int64, len(unit_ids))

    def take(self, matrix: NDArray, columns: NDArray[np.int64]) -> NDArray:
        """``columns`` of ``matrix`` [..., N], without a copy if they are ``all_columns``."""
        return matrix if columns is self.all_columns else matrix[:, columns]
