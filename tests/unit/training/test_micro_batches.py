"""How a global batch is cut into micro-batches, and which rank computes which."""

import numpy as np
import pytest

from polycal.training import batches, micro_batches
from polycal.training.micro_batches import PADDING_ROW, BatchError

BATCH = 128


def alpaca_lengths(rows=20_000):
    """Numbers of tokens with a mean near 120 and a long tail, as in Alpaca."""
    drawn = np.random.default_rng(0).lognormal(4.5, 0.75, rows)
    return np.clip(drawn, 20, 4096).astype(int)


@pytest.mark.parametrize(("micro", "ranks"), [(1, 1), (2, 1), (1, 2), (2, 2), (4, 3)])
def test_all_ranks_get_as_many_held_out_micro_batches_and_each_row_once(micro, ranks):
    cut = micro_batches.cut(range(5), [2, 4, 3, 6, 5], {"micro_batch_size": micro})
    shares = [micro_batches.share(cut, rank, ranks) for rank in range(ranks)]
    assert len({len(share) for share in shares}) == 1
    numbers = [number for share in shares for part in share for number in part]
    assert sorted(n for n in numbers if n != PADDING_ROW) == [0, 1, 2, 3, 4]


def test_a_global_batch_must_divide_by_micro_batches_and_ranks():
    settings = {"global_batch_size": 8, "micro_batch_size": 2}
    micro_batches.check(settings, 2)
    assert len(micro_batches.share(micro_batches.cut(range(8), [1] * 8, settings), 1, 2)) == 2
    with pytest.raises(BatchError, match="on 3 rank\\(s\\); global_batch_size must be a multiple of 6"):
        micro_batches.check(settings, 3)


def test_settings_give_exactly_one_size_and_tokens_suit_any_number_of_ranks():
    tokens = {"global_batch_size": 8, "tokens_per_micro_batch": 5}
    micro_batches.check(tokens, 3)
    with pytest.raises(BatchError, match="give micro_batch_size and tokens_per_micro_batch; they must"):
        micro_batches.check({**tokens, "micro_batch_size": 1}, 1)
    with pytest.raises(BatchError, match="give neither micro_batch_size nor tokens_per_micro_batch; they"):
        micro_batches.check({"global_batch_size": 8}, 1)


@pytest.mark.parametrize("tokens", [1, 40, 700, 4096, 16_384, 10**9])
def test_micro_batches_by_tokens_have_each_row_once_and_no_more_tokens_than_allowed(tokens):
    lengths = alpaca_lengths(BATCH)
    lengths[17] = 4096
    order = [PADDING_ROW, *np.random.default_rng(1).permutation(BATCH).tolist(), PADDING_ROW]
    cut = micro_batches.by_tokens(order, lengths, tokens)
    assert sorted(number for part in cut for number in part) == list(range(BATCH))
    for part in cut:
        assert len(part) == 1 or lengths[part].sum() <= tokens
        assert part == sorted(part, key=order.index)
    assert len(cut) == min(len(cut), BATCH)
    if tokens == 1:
        assert len(cut) == BATCH
    if tokens == 10**9:
        assert len(cut) == 1
    assert cut == micro_batches.by_tokens(order, lengths, tokens)
    assert cut == micro_batches.by_tokens([n for n in order if n >= 0], lengths, tokens)


def test_no_micro_batch_has_many_more_tokens_than_the_others_unless_a_row_is_long():
    lengths = alpaca_lengths()
    for step in np.arange(BATCH * 100).reshape(100, BATCH):
        loads = [lengths[part].sum() for part in micro_batches.by_tokens(step.tolist(), lengths, 4096)]
        assert loads == sorted(loads, reverse=True)
        assert len(loads) in (4, 8)
        assert max(loads) - min(loads) <= max(0.02 * max(loads), max(lengths[step]) - min(loads))


def test_at_most_a_twentieth_of_the_micro_batches_is_empty_for_global_batches_of_the_paper():
    lengths = alpaca_lengths()
    order = batches.training_order(len(lengths), "1", BATCH, "0").reshape(-1, BATCH)
    cut = [micro_batches.by_tokens(step, lengths, 4096) for step in order.tolist()]
    for ranks in (1, 2, 4):
        assert micro_batches.empty_share(cut, ranks) <= 0.05
    # with more ranks than a global batch has micro-batches, some ranks compute nothing
    assert micro_batches.empty_share(cut, 64) > 0.8


def test_ranks_take_micro_batches_in_turn_and_the_rest_get_one_without_targets():
    cut = [[4, 1], [3], [2, 0]]
    assert micro_batches.share(cut, 0, 2) == [[4, 1], [2, 0]]
    assert micro_batches.share(cut, 1, 2) == [[3], [PADDING_ROW]]
    assert micro_batches.share(cut, 3, 4) == [[PADDING_ROW]]
    assert micro_batches.empty_share([cut], 2) == pytest.approx(1 / 4)
