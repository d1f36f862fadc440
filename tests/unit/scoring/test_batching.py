from polycal.scoring.batching import batches


def test_batches_contain_every_row_once_within_the_budget():
    lengths = [2 + n % 7 for n in range(40)]
    made = list(batches(lengths, 20))
    assert sorted(row for batch in made for row in batch) == list(range(40))
    assert all(len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= 20 for batch in made)
