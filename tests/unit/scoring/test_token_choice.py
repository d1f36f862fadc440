"""Tokens chosen in ``generate``: greedy ones, sampled ones and their probabilities."""

import numpy as np
import pytest
import torch

from polycal.scoring.token_choice import TokenChoice, uniform_numbers


def chosen(choice: TokenChoice, scores: torch.Tensor) -> list[int]:
    left = choice(torch.zeros(len(scores), 1, dtype=torch.long), scores)
    assert (left == 0).sum(-1).tolist() == [1] * len(scores)
    return left.argmax(-1).tolist()


def test_numbers_depend_on_seed_question_and_sample_alone() -> None:
    one = uniform_numbers(3, "q", 4, 6)
    assert np.isnan(one[0]).all()
    assert one[1:].min() >= 0
    assert one[1:].max() < 1
    assert np.array_equal(uniform_numbers(3, "q", 9, 20)[1:5, :6], one[1:])
    others = [uniform_numbers(4, "q", 4, 6), uniform_numbers(3, "r", 4, 6)]
    assert all((other[1:] != one[1:]).all() for other in others)
    assert len(np.unique(one[1:])) == one[1:].size


def test_sampled_tokens_have_their_probabilities() -> None:
    p = torch.tensor([0.5, 0.0, 0.3, 0.15, 0.05])
    count = 20_000
    uniform = np.random.default_rng(0).random((count, 1))
    found = chosen(TokenChoice(uniform), p.log().expand(count, -1).contiguous())
    share = np.bincount(found, minlength=5) / count
    assert share[1] == 0
    assert np.abs(share - p.numpy()).max() < 4 * np.sqrt(0.25 / count)


@pytest.mark.parametrize(("temperature", "top_p"), [(0.5, 1.0), (2.0, 1.0), (1.0, 0.79), (0.7, 0.9)])
def test_temperature_and_nucleus_are_those_of_transformers(temperature: float, top_p: float) -> None:
    p = torch.tensor([0.05, 0.5, 0.3, 0.15])
    powered = p ** (1 / temperature)
    powered /= powered.sum()
    order = powered.argsort(descending=True)
    # the fewest tokens whose probability together is at least top_p
    kept = order[: int((powered[order].cumsum(0) < top_p).sum()) + 1] if top_p < 1 else order
    expected = torch.zeros(4)
    expected[kept] = powered[kept] / powered[kept].sum()
    grid = (np.arange(10_000) + 0.5)[:, None] / 10_000
    choice = TokenChoice(grid, temperature, top_p)
    found = np.bincount(chosen(choice, p.log().expand(len(grid), -1).contiguous()), minlength=4) / len(grid)
    assert np.abs(found - expected.numpy()).max() < 2e-4
    # the log-probability is that of the model, whatever is sampled from
    picked = found.argmax()
    assert choice.logprob.max() == pytest.approx(float(p.log()[picked]), abs=1e-6)


def test_greedy_rows_have_the_largest_logit_and_near_ties_are_seen() -> None:
    scores = torch.tensor([[0.0, 2.0, 1.0], [1.0, 1.0 + 5e-5, 0.0], [1.0, 0.0, 1.0 + 2e-4]])
    choice = TokenChoice(np.full((3, 1), np.nan))
    assert chosen(choice, scores) == [1, 1, 2]
    assert choice.near_tie[:, 0].tolist() == [False, True, False]
    assert torch.allclose(choice.logprob[:, 0], scores.log_softmax(-1).max(-1).values)


def test_a_number_at_the_end_gives_a_possible_token() -> None:
    scores = torch.tensor([[0.0, -torch.inf, 0.0, -torch.inf]]).expand(2, -1).contiguous()
    assert chosen(TokenChoice(np.array([[np.nextafter(1.0, 0.0)], [0.0]])), scores) == [2, 0]
