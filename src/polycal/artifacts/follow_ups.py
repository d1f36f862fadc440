"""The columns of score records that hold what a model says of the option that it chose.

Only records of protocols with ``follow_up`` have them.
"""

import functools
import os
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from polycal.artifacts import records
from polycal.artifacts.candidate_forms import LEVEL_VALUES, LEVELS
from polycal.artifacts.records import RecordError

OPTION = pa.field("asked_option", pa.int32())
"""The index of the chosen option, which is asked about."""
LOGPROB = pa.field("follow_up_logprob", pa.list_(pa.float32()))
"""The log-likelihood in nats of each answer: of the LEVEL_VALUES, or of true and false in two orders."""
FIELDS = (OPTION, LOGPROB)
ORDERS = 2
"""P(True) is asked with true named first and with false named first. Of each order there are true and false."""


@dataclass(frozen=True)
class FollowUps:
    """What one checkpoint says of the options that it chose, for N questions.

    ``option`` [N] is the index of the chosen option, and ``logprob`` [N, A] are the log-likelihoods of the
    answers. ``form`` is one of ``candidate_forms.FOLLOW_UPS``.
    """

    form: str
    option: NDArray[np.int64]
    logprob: NDArray[np.float64]

    @functools.cached_property
    def levels(self) -> NDArray[np.float64]:
        """The distribution over LEVEL_VALUES, renormalised, [N, 11]."""
        top = self.logprob.max(1, keepdims=True)
        share = np.exp(self.logprob - top)
        return np.asarray(share / share.sum(1, keepdims=True))

    def expected_level(self) -> NDArray[np.float64]:
        """The expected level as a confidence, [N], in [0, 1]."""
        return np.asarray(np.clip(self.levels @ np.array(LEVEL_VALUES) / 100, 0.0, 1.0))

    def modal_level(self) -> NDArray[np.float64]:
        """The most likely level as a confidence, [N], in [0, 1]; the lowest of equally likely ones."""
        return np.array(LEVEL_VALUES)[self.levels.argmax(1)] / 100

    def mass(self) -> NDArray[np.float64]:
        """The probability that the model's answer is any of the levels, [N], in [0, 1]."""
        return np.asarray(np.minimum(np.exp(self.logprob).sum(1), 1.0))

    def p_true(self) -> NDArray[np.float64]:
        """The mean over the orders of p(true) / (p(true) + p(false)), [N]."""
        pairs = self.logprob.reshape(-1, ORDERS, 2)
        return np.asarray(np.exp(-np.logaddexp(0.0, pairs[..., 1] - pairs[..., 0])).mean(1))


def read(path: str | os.PathLike[str], form: str | None) -> FollowUps | None:
    """The columns of a score record in the order of its rows; None if its cell asks for no follow-up.

    Raises RecordError if the file is altered or has not the columns, and if a value is empty, not finite or not one
    for each answer.
    """
    if form is None:
        return None
    table, answers = records.whole(path), len(LEVEL_VALUES) if form == LEVELS else 2 * ORDERS
    lacking = [field.name for field in FIELDS if field.name not in table.column_names]
    if lacking:
        raise RecordError(
            f"{path}: its cell asks for the follow-up {form!r}, but column {lacking[0]!r} is missing; make the record"
            " again."
        )
    option, lists = (table[field.name].cast(field.type).combine_chunks() for field in FIELDS)
    values = lists.flatten()
    if option.null_count or lists.null_count or values.null_count:
        raise RecordError(f"{path}: a value of a follow-up is empty; every question needs one.")
    logprob = values.to_numpy(zero_copy_only=False).astype(np.float64)
    if not np.isfinite(logprob).all() or (lists.value_lengths().to_numpy() != answers).any():
        raise RecordError(
            f"{path}: a row of {LOGPROB.name} has not {answers} finite numbers; make the record again."
        )
    return FollowUps(form, option.to_numpy().astype(np.int64), logprob.reshape(-1, answers))
