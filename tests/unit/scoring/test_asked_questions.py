"""Records of questions that are asked several times, against float64 with one sequence per candidate."""

import numpy as np
import pytest
from helpers import models as tiny
from helpers.multiple_choice import EXAMPLES, TESTS, reference
from helpers.multiple_choice import score_all_columns as score

from polycal.analysis import score_arrays
from polycal.artifacts import order_spread, records
from polycal.scoring import option_order, prompts


@pytest.mark.parametrize("num_fewshot", [0, 5])
@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_the_mean_over_orders_against_float64(folders, questions, tmp_path, architecture, num_fewshot):
    attention = "eager" if architecture == "gemma2" else "sdpa"
    folder = folders[architecture]
    rows = score(folder, questions, tmp_path / "s", "letters", num_fewshot, None, attention, rotations=3)
    examples = prompts.fewshot_examples(EXAMPLES, "g", num_fewshot)
    for row, question in zip(rows, TESTS, strict=True):
        count = len(question["options"])
        shares = []
        for shift in range(count):  # at most three options, so three rotations are all
            turned = option_order.rotated(question, shift)
            values = reference(folder, prompts.build_prompt(turned, examples, "letters"))
            shares.append(np.roll(np.exp(values), shift))
        masses, p = np.sum(shares, axis=1), np.array(shares) / np.sum(shares, axis=1, keepdims=True)
        assert np.exp(row["option_logprob"]).sum() == pytest.approx(masses.mean(), rel=1e-3)
        found = np.exp(row["option_logprob"]) / np.exp(row["option_logprob"]).sum()
        assert found == pytest.approx(p.mean(0), abs=1e-4)
        assert row["order_spread"] == pytest.approx(np.abs(p - p.mean(0)).sum(1).mean() / 2, abs=1e-4)


def test_one_order_gives_the_record_without_the_setting(folders, questions, tmp_path):
    plain = score(folders["llama"], questions, tmp_path / "a", "letters")
    one = score(folders["llama"], questions, tmp_path / "b", "letters", rotations=1)
    assert one == plain
    assert "order_spread" not in plain[0]
    assert score_arrays.read(tmp_path / "a").order_spread is None


def test_the_spread_is_read_with_the_scores(folders, questions, tmp_path):
    rows = score(folders["llama"], questions, tmp_path / "s", "letters", rotations=2)
    found = score_arrays.read(tmp_path / "s")
    assert found.order_spread.tolist() == [row["order_spread"] for row in rows]
    assert found.candidate_mass() is not None
    assert records.read_scores(tmp_path / "s").column_names == records.SCORE.names
    assert records.metadata(tmp_path / "s")["questions"] == len(rows)
    rows[1]["order_spread"] = float("nan")
    schema = records.SCORE.append(order_spread.FIELD)
    records.write(tmp_path / "s", rows, schema, {"cell": records.metadata(tmp_path / "s")["cell"]})
    with pytest.raises(records.RecordError, match="order_spread is empty or not between 0 and 1"):
        score_arrays.read(tmp_path / "s")
