"""Score records of tiny models, against float64 with one sequence per candidate."""

import pytest
from helpers import models as tiny
from helpers.multiple_choice import EXAMPLES, TESTS, cell, reference, score
from helpers.stamps import FixedStamp

from polycal.analysis import score_arrays
from polycal.artifacts import records
from polycal.scoring import models, multiple_choice, prompts
from polycal.scoring.chat_turns import user_turn
from polycal.vocabulary import CELL_KEYS


@pytest.mark.parametrize("num_fewshot", [0, 5])
@pytest.mark.parametrize("candidates", ["letters", "texts"])
@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_log_likelihoods_against_float64(folders, questions, tmp_path, architecture, candidates, num_fewshot):
    attention = "eager" if architecture == "gemma2" else "sdpa"
    folder = folders[architecture]
    for budget in (1, 300, 10**6):
        rows = score(folder, questions, tmp_path / "s", candidates, num_fewshot, budget, attention)
        for row, question in zip(rows, TESTS, strict=True):
            examples = prompts.fewshot_examples(EXAMPLES, "g", num_fewshot)
            prompt = prompts.build_prompt(question, examples, candidates)
            assert row["option_logprob"] == pytest.approx(reference(folder, prompt), abs=1e-4)


def test_the_record_contains_sizes_settings_and_timing(folders, questions, tmp_path):
    rows = score(folders["llama"], questions, tmp_path / "s", "texts", 0, 4096)
    facts = records.metadata(tmp_path / "s")
    assert rows[0]["option_tokens"] == [5, 19, 3]
    assert rows[0]["option_bytes"] == [4, 18, 2]
    assert rows[1]["option_bytes"] == [3, 6]
    assert (facts["questions"], facts["equal_candidates"], facts["prompts_cut"]) == (4, 1, 0)
    assert rows[2]["option_logprob"][0] == pytest.approx(rows[2]["option_logprob"][2], abs=1e-5)
    assert facts["cell"]["settings"]["candidates"] == "texts"
    for name in ("questions_per_second", "tokens_per_second", "peak_memory_bytes"):
        assert facts[name] > 0
    assert 0 < facts["forward_fraction"] <= 1
    assert records.UNCONDITIONAL not in rows[0]


@pytest.mark.parametrize("chat", [None, "tulu"])
def test_candidates_after_a_neutral_context(folders, questions, tmp_path, chat):
    folder = folders["llama"]
    pmi = cell("texts", 0) | {key: "none" for key in CELL_KEYS if key not in ("model", "language")}
    pmi["settings"] |= {"pmi": True, "chat_template": chat}
    multiple_choice.score(
        [pmi], model=folder, questions=[questions], out=[tmp_path / "s"], stamps=[FixedStamp()]
    )
    rows = records.read_scores(tmp_path / "s").to_pylist()
    assert records.metadata(tmp_path / "s")["unconditional"]["candidates"] == 9
    turn = user_turn(chat) if chat else None
    context = prompts.neutral_context(turn=turn)
    assert context == ("Answer:" if chat is None else "<|user|>\nAnswer:\n<|assistant|>\n")
    for row, question in zip(rows, TESTS, strict=True):
        prompt = prompts.build_prompt(question, [], "texts", turn=turn)
        expected = reference(folder, prompts.Prompt((), context, prompt.candidates))
        assert row[records.UNCONDITIONAL] == pytest.approx(expected, abs=1e-4)
        assert row["option_logprob"] == pytest.approx(reference(folder, prompt), abs=1e-4)
    assert rows[2][records.UNCONDITIONAL][0] == rows[2][records.UNCONDITIONAL][2]
    assert "pmi" in score_arrays.read(tmp_path / "s").normalisations(["sum"])


def test_each_record_has_its_own_cell_and_stamp(folders, questions, tmp_path):
    out, done = [tmp_path / "a", tmp_path / "b"], []
    multiple_choice.score(
        [cell("letters", 0), cell("texts", 2)],
        model=folders["llama"],
        questions=[questions, questions],
        out=out,
        stamps=[FixedStamp(host="h"), FixedStamp(host="i")],
        done=done.append,
    )
    assert done == [0, 1]
    facts = [records.metadata(path) for path in out]
    assert [fact["host"] for fact in facts] == ["h", "i"]
    assert [fact["cell"]["settings"]["num_fewshot"] for fact in facts] == [0, 2]


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_a_model_spread_over_devices_scores_the_same(folders, questions, tmp_path, monkeypatch, architecture):
    expected = score(folders[architecture], questions, tmp_path / "a", "texts", 5, 300)
    others = ("model.embed_tokens", "model.layers.0", "model.norm", "model.rotary_emb", "lm_head")
    device_map = {"model.layers.1": "disk", **dict.fromkeys(others, "cpu")}
    monkeypatch.setattr(models, "choose_device", lambda folder, dtype: device_map)
    spread = score(folders[architecture], questions, tmp_path / "b", "texts", 5, 300)
    for a, b in zip(expected, spread, strict=True):
        assert a["option_logprob"] == pytest.approx(b["option_logprob"], abs=1e-5)
