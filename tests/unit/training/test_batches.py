"""The order of rows in training, and the arrays of a micro-batch."""

import numpy as np

from polycal.data.tokenized import TokenizedRows
from polycal.training import batches

ROWS = TokenizedRows.collect(
    (np.arange(1, n + 2, dtype=np.int32), np.arange(n + 1) == n) for n in (1, 3, 2, 5, 4)
)


def test_an_epoch_is_a_permutation_padded_to_whole_global_batches():
    order = batches.training_order(5, "2", 4, "0")
    first, second = order.reshape(2, 8)
    for epoch in (first, second):
        assert sorted(epoch[:5]) == [0, 1, 2, 3, 4]
        assert (epoch[5:] == batches.PADDING_ROW).all()
    assert list(first) != list(second)
    assert list(order) == list(batches.training_order(5, "2", 4, "0"))
    assert list(order) != list(batches.training_order(5, "2", 4, "1"))


def test_a_fractional_epoch_ends_after_a_complete_global_batch():
    whole = batches.training_order(5, "2", 4, "0")
    assert list(batches.training_order(5, "1.3", 4, "0")) == list(whole[:12])


def test_a_seed_depends_on_all_its_parts():
    assert batches.stable_seed("order", "0", 1) == batches.stable_seed("order", 0, "1")
    assert batches.stable_seed("order", "0", 1) != batches.stable_seed("dropout", "0", 1)
    assert 0 <= batches.stable_seed() < 2**63


def test_a_micro_batch_is_padded_on_the_right_and_labels_targets_only():
    batch = batches.pad(ROWS, [0, batches.PADDING_ROW, 2], 9)
    assert batch["input_ids"].tolist() == [[1, 2, 9], [9, 9, 9], [1, 2, 3]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0], [1, 0, 0], [1, 1, 1]]
    assert batch["labels"].tolist() == [[-100, 2, -100], [-100, -100, -100], [-100, -100, 3]]


def test_packed_rows_follow_each_other_and_their_positions_restart():
    batch = batches.pack(ROWS, [2, batches.PADDING_ROW, 0], 9)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 9, 1, 2]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 0, 1]]
    assert batch["labels"].tolist() == [[-100, -100, 3, -100, -100, 2]]
    assert {array.dtype for array in batch.values()} == {np.dtype("int64")}
