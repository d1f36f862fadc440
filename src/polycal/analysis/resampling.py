"""Resamples of a benchmark's questions, or of the conversations of a held-out set, shared by all its cells.

Questions are parallel over languages and conditions. One bootstrap sample of question ids therefore serves
every cell of a benchmark, and differences between cells and means over languages keep what the questions have
in common.
"""

import zlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

FLOOR_SAMPLES = 200
COSTLY_SAMPLES = 100
"""Bootstrap samples of metrics that need a search in each: smooth ECE, refitted temperatures."""


class Resamples:
    """Bootstrap samples of ids, with replacement, reproducible for (seed, stream, ids).

    ``weights`` [R, N] counts how often sample r holds id n; ``stream`` names the benchmark. ``uniform``
    [FLOOR_SAMPLES, N], in [0, 1), decides the labels of the noise floor.
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
        """Columns of these ids; ``all_columns`` itself if they are all ids in order."""
        if np.array_equal(unit_ids, self.ids):
            return self.all_columns
        return np.fromiter((self.column_of[name] for name in unit_ids), np.int64, len(unit_ids))

    def take(self, matrix: NDArray, columns: NDArray[np.int64]) -> NDArray:
        """``columns`` of ``matrix`` [..., N]; no copy if they are ``all_columns``."""
        return matrix if columns is self.all_columns else matrix[:, columns]
